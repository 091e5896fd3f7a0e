package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// maxVerified is how many certificates Certificates remembers. Only those of its own authority get there.
const maxVerified = 4096

// Certificates knows users by their TLS client certificate, which must chain to roots: the common name is the user,
// the organizations are the groups. The TLS server must ask for certificates (tls.RequestClientCert or
// tls.VerifyClientCertIfGiven); the chain is verified here in either case. What was verified is remembered until a certificate of
// its chain expires: to verify a signature takes longer than most requests do.
func Certificates(roots *x509.CertPool) Authenticator {
	c := &certificates{roots: roots, verified: map[chainHash]verified{}}
	return Func(func(r *http.Request) (User, bool, error) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			return User{}, false, nil
		}
		user, err := c.user(r.TLS.PeerCertificates)
		return user, err == nil, err
	})
}

// certificates verifies certificates.
type certificates struct {
	roots *x509.CertPool

	mu       sync.RWMutex
	verified map[chainHash]verified
}

// chainHash is of all certificates that a client has sent.
type chainHash [sha256.Size]byte

// verified is the user of a chain that is good from a time until another one, both included.
type verified struct {
	user        User
	from, until time.Time
}

func (c *certificates) user(sent []*x509.Certificate) (User, error) {
	key := hashOf(sent)
	c.mu.RLock()
	known, found := c.verified[key]
	c.mu.RUnlock()
	if now := time.Now(); !found || now.Before(known.from) || now.After(known.until) {
		var err error
		if known, err = c.verify(sent); err != nil {
			return User{}, err
		}
		c.remember(key, known)
	}
	user := known.user
	user.Groups = slices.Clone(user.Groups) // the caller's own
	return user, nil
}

func (c *certificates) verify(sent []*x509.Certificate) (verified, error) {
	leaf := sent[0]
	opts := x509.VerifyOptions{Roots: c.roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range sent[1:] {
		opts.Intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(opts)
	if err != nil {
		return verified{}, fmt.Errorf("%w: client certificate of %q: %w", ErrInvalid, leaf.Subject.CommonName, err)
	}
	if leaf.Subject.CommonName == "" {
		return verified{}, fmt.Errorf("%w: the client certificate has no common name to be the user", ErrInvalid)
	}
	v := verified{user: Authenticated(User{Name: leaf.Subject.CommonName, Groups: slices.Clone(leaf.Subject.Organization)}), from: leaf.NotBefore, until: leaf.NotAfter}
	for _, cert := range chains[0] {
		if cert.NotBefore.After(v.from) {
			v.from = cert.NotBefore
		}
		if cert.NotAfter.Before(v.until) {
			v.until = cert.NotAfter
		}
	}
	return v, nil
}

// remember keeps what was verified; one of too many gives way.
func (c *certificates) remember(key chainHash, v verified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, found := c.verified[key]; !found && len(c.verified) >= maxVerified {
		for other := range c.verified {
			delete(c.verified, other)
			break
		}
	}
	c.verified[key] = v
}

func hashOf(sent []*x509.Certificate) chainHash {
	if len(sent) == 1 {
		return sha256.Sum256(sent[0].Raw)
	}
	all := sha256.New()
	for _, cert := range sent {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(cert.Raw)))
		all.Write(size[:])
		all.Write(cert.Raw)
	}
	return chainHash(all.Sum(nil))
}
