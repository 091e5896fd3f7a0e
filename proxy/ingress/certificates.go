package ingress

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// certificates are the certificates by host. They are immutable.
type certificates map[string]*tls.Certificate

// buildCertificates reads the Secrets that routes name. One that is missing or wrong is an error; the others hold.
func buildCertificates(r *Routes, secret func(types.NamespacedName) (*corev1.Secret, bool)) (certificates, []error) {
	out := certificates{}
	read := map[types.NamespacedName]*tls.Certificate{}
	var errs []error
	for _, n := range slices.Concat(r.tls, r.tlsImplied) {
		cert, ok := read[n.secret]
		if !ok {
			var err error
			if cert, err = readCertificate(n.secret, secret); err != nil {
				errs = append(errs, err)
			}
			read[n.secret] = cert
		}
		if cert != nil && out[n.host] == nil {
			out[n.host] = cert
		}
	}
	return out, errs
}

func readCertificate(name types.NamespacedName, secret func(types.NamespacedName) (*corev1.Secret, bool)) (*tls.Certificate, error) {
	s, ok := secret(name)
	if !ok {
		return nil, fmt.Errorf("secret %s: not found", name)
	}
	cert, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("secret %s: %s and %s are no certificate and its key: %w", name, corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	return &cert, nil
}

// find is the certificate for a name that a client asks for.
func (c certificates) find(name string) (*tls.Certificate, error) {
	name = hostname(name)
	if cert := c[name]; cert != nil {
		return cert, nil
	}
	if _, rest, ok := strings.Cut(name, "."); ok {
		if cert := c["*."+rest]; cert != nil {
			return cert, nil
		}
	}
	return nil, fmt.Errorf("no Ingress has a certificate for %q", name)
}
