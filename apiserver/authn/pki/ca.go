package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"slices"
	"time"
)

const (
	backdate        = 5 * time.Minute
	defaultCATerm   = 10 * 365 * 24 * time.Hour
	defaultTerm     = 365 * 24 * time.Hour
	blockCert       = "CERTIFICATE"
	blockKey        = "PRIVATE KEY"
	serialNumberLen = 16 // bytes
)

// CA is a certificate authority.
type CA struct {
	cert    *x509.Certificate
	certPEM []byte
	key     crypto.Signer
}

// NewCA makes an authority with a new key. validity 0 means ten years.
func NewCA(name string, validity time.Duration) (*CA, error) {
	if name == "" {
		return nil, errors.New("pki: the authority needs a name")
	}
	if validity <= 0 {
		validity = defaultCATerm
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("pki: make key: %w", err)
	}
	now := time.Now()
	tmpl, err := template(pkix.Name{CommonName: name}, now.Add(-backdate), now.Add(validity), &key.PublicKey)
	if err != nil {
		return nil, err
	}
	tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("pki: sign authority %q: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("pki: parse authority %q: %w", name, err)
	}
	return &CA{cert: cert, certPEM: pemOf(blockCert, der), key: key}, nil
}

// ParseCA reads an authority from PEM.
func ParseCA(certPEM, keyPEM []byte) (*CA, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("pki: read authority: %w", err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("pki: read authority: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !cert.IsCA {
		return nil, fmt.Errorf("pki: the certificate of %q is not an authority's: it may not sign others", cert.Subject.CommonName)
	}
	return &CA{cert: cert, certPEM: pemOf(blockCert, pair.Certificate[0]), key: key}, nil
}

// LoadCA reads ca.crt and ca.key from a directory. The error is fs.ErrNotExist when there is no authority yet.
func LoadCA(dir *os.Root) (*CA, error) {
	cert, err := dir.ReadFile("ca.crt")
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	key, err := dir.ReadFile("ca.key")
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	return ParseCA(cert, key)
}

// LoadOrNewCA loads the authority of a directory, or makes and saves one when there is none.
func LoadOrNewCA(dir *os.Root, name string) (*CA, error) {
	ca, err := LoadCA(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return ca, err
	}
	if ca, err = NewCA(name, 0); err != nil {
		return nil, err
	}
	return ca, ca.Save(dir)
}

// Save writes ca.crt and ca.key, the key readable by the owner alone. The key is written first: a directory with a
// certificate in it is complete.
func (ca *CA) Save(dir *os.Root) error {
	key, err := ca.KeyPEM()
	if err != nil {
		return err
	}
	if err := writeFile(dir, "ca.key", key, 0o600); err != nil {
		return err
	}
	return writeFile(dir, "ca.crt", ca.certPEM, 0o644)
}

// KeyPEM is the authority's key. Whoever has it is the authority.
func (ca *CA) KeyPEM() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return nil, fmt.Errorf("pki: encode key: %w", err)
	}
	return pemOf(blockKey, key), nil
}

// CertPEM is the authority's certificate, which whoever trusts it needs.
func (ca *CA) CertPEM() []byte { return slices.Clone(ca.certPEM) }

// Pool is the authority's certificate as a pool of roots.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.cert)
	return p
}

// Request says what a certificate is for.
type Request struct {
	CommonName    string   // for a client: the user
	Organizations []string // for a client: the groups
	Hosts         []string // names and addresses that a server is reached by; empty means not usable by a server
	Client        bool     // usable by a client; a request without Hosts is for a client in any case

	// Validity is how long the certificate lasts; 0 means a year. It never outlasts the authority.
	Validity time.Duration
}

// Issue makes a key and a certificate for it.
func (ca *CA) Issue(req Request) (*Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("pki: make key: %w", err)
	}
	if req.CommonName == "" && len(req.Hosts) == 0 {
		return nil, errors.New("pki: a certificate needs a common name or hosts")
	}
	if req.Validity <= 0 {
		req.Validity = defaultTerm
	}
	now := time.Now()
	until := now.Add(req.Validity)
	if until.After(ca.cert.NotAfter) {
		until = ca.cert.NotAfter
	}
	tmpl, err := template(pkix.Name{CommonName: req.CommonName, Organization: req.Organizations}, now.Add(-backdate), until, &key.PublicKey)
	if err != nil {
		return nil, err
	}
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	if len(req.Hosts) > 0 {
		tmpl.ExtKeyUsage = append(tmpl.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if req.Client || len(req.Hosts) == 0 {
		tmpl.ExtKeyUsage = append(tmpl.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	for _, h := range req.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("pki: sign certificate of %q: %w", req.CommonName, err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("pki: encode key: %w", err)
	}
	return &Pair{CertPEM: pemOf(blockCert, der), KeyPEM: pemOf(blockKey, pkcs8)}, nil
}

// Pair is a certificate and its key, in PEM.
type Pair struct{ CertPEM, KeyPEM []byte }

// TLS is the pair in the form that tls.Config takes.
func (p *Pair) TLS() (tls.Certificate, error) { return tls.X509KeyPair(p.CertPEM, p.KeyPEM) }

// Save writes name.crt and name.key, the key readable by the owner alone.
func (p *Pair) Save(dir *os.Root, name string) error {
	if err := writeFile(dir, name+".key", p.KeyPEM, 0o600); err != nil {
		return err
	}
	return writeFile(dir, name+".crt", p.CertPEM, 0o644)
}

// LoadPair reads what Save wrote, and checks that key and certificate belong together.
func LoadPair(dir *os.Root, name string) (*Pair, error) {
	cert, err := dir.ReadFile(name + ".crt")
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	key, err := dir.ReadFile(name + ".key")
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	p := &Pair{CertPEM: cert, KeyPEM: key}
	if _, err := p.TLS(); err != nil {
		return nil, fmt.Errorf("pki: %s: %w", name, err)
	}
	return p, nil
}

func template(subject pkix.Name, from, until time.Time, pub *ecdsa.PublicKey) (*x509.Certificate, error) {
	serial := make([]byte, serialNumberLen)
	if _, err := rand.Read(serial); err != nil {
		return nil, fmt.Errorf("pki: make serial number: %w", err)
	}
	serial[0] &= 0x7f // a serial number is positive
	point, err := pub.Bytes()
	if err != nil {
		return nil, fmt.Errorf("pki: encode public key: %w", err)
	}
	id := sha256.Sum256(point)
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		Subject:      subject,
		NotBefore:    from,
		NotAfter:     until,
		SubjectKeyId: id[:20],
	}, nil
}

// writeFile replaces a file in one step, so that a crash leaves the old one or the new one.
func writeFile(dir *os.Root, name string, data []byte, mode fs.FileMode) error {
	tmp := name + ".new"
	if err := dir.WriteFile(tmp, data, mode); err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	if err := dir.Rename(tmp, name); err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	return nil
}

func pemOf(block string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: block, Bytes: der})
}
