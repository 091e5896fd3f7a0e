package authn

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/apiserver/authn/pki"
)

func requestWith(t testing.TB, ca *pki.CA, name string, validity time.Duration) *http.Request {
	pair, err := ca.Issue(pki.Request{CommonName: name, Organizations: []string{"dev"}, Validity: validity})
	require.NoError(t, err)
	block, _ := pem.Decode(pair.CertPEM)
	cert, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	r := httptest.NewRequest("GET", "/", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
	return r
}

// TestRememberedCertificateExpires has one certificate outlive its validity, and one its authority's, after both were seen.
func TestRememberedCertificateExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, err := pki.NewCA("ours", time.Hour)
		require.NoError(t, err)
		a := Certificates(ca.Pool())
		short, long := requestWith(t, ca, "short", time.Minute), requestWith(t, ca, "long", time.Hour)
		for _, r := range []*http.Request{short, long, short, long} {
			_, ok, err := a.Authenticate(r)
			require.NoError(t, err)
			require.True(t, ok)
		}
		time.Sleep(2 * time.Minute)
		_, ok, err := a.Authenticate(short)
		require.False(t, ok)
		require.ErrorIs(t, err, ErrInvalid)
		_, ok, err = a.Authenticate(long)
		require.NoError(t, err)
		require.True(t, ok)
		time.Sleep(time.Hour)
		_, ok, err = a.Authenticate(long)
		require.False(t, ok)
		require.ErrorIs(t, err, ErrInvalid)
	})
}

func TestChainEndsWithItsFirstCertificateToExpire(t *testing.T) {
	ca, err := pki.NewCA("ours", time.Hour)
	require.NoError(t, err)
	c := &certificates{roots: ca.Pool(), verified: map[chainHash]verified{}}
	sent := requestWith(t, ca, "a", time.Hour).TLS.PeerCertificates
	v, err := c.verify(sent)
	require.NoError(t, err)
	require.False(t, v.until.After(sent[0].NotAfter))
	block, _ := pem.Decode(ca.CertPEM())
	root, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	require.False(t, v.until.After(root.NotAfter))
	require.False(t, v.from.Before(root.NotBefore))
}

func TestRememberedUserIsTheCallersOwn(t *testing.T) {
	ca, err := pki.NewCA("ours", time.Hour)
	require.NoError(t, err)
	a := Certificates(ca.Pool())
	r := requestWith(t, ca, "jane", time.Hour)
	for range 3 {
		u, ok, err := a.Authenticate(r)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, []string{"dev", GroupAuthenticated}, u.Groups)
		u.Groups[0] = "system:masters"
	}
}

func TestRememberedCertificatesAreBounded(t *testing.T) {
	c := &certificates{verified: map[chainHash]verified{}}
	for i := range 2 * maxVerified {
		c.remember(chainHash{byte(i), byte(i >> 8), byte(i >> 16)}, verified{user: User{Name: fmt.Sprint(i)}})
	}
	require.Len(t, c.verified, maxVerified)
	last := 2*maxVerified - 1
	require.Equal(t, fmt.Sprint(last), c.verified[chainHash{byte(last), byte(last >> 8), byte(last >> 16)}].user.Name)
}

// TestChainHash says that what a client sends beside its certificate belongs to what is remembered, and where one ends.
func TestChainHash(t *testing.T) {
	ab, c := &x509.Certificate{Raw: []byte("ab")}, &x509.Certificate{Raw: []byte("c")}
	a, bc := &x509.Certificate{Raw: []byte("a")}, &x509.Certificate{Raw: []byte("bc")}
	require.NotEqual(t, hashOf([]*x509.Certificate{ab, c}), hashOf([]*x509.Certificate{a, bc}))
	require.NotEqual(t, hashOf([]*x509.Certificate{ab}), hashOf([]*x509.Certificate{ab, c}))
}

func BenchmarkCertificates(b *testing.B) {
	ca, err := pki.NewCA("ours", time.Hour)
	require.NoError(b, err)
	r := requestWith(b, ca, "jane", time.Hour)
	for _, remembered := range []bool{true, false} {
		b.Run(fmt.Sprintf("remembered=%v", remembered), func(b *testing.B) {
			c := &certificates{roots: ca.Pool(), verified: map[chainHash]verified{}}
			b.ReportAllocs()
			for b.Loop() {
				if !remembered {
					clear(c.verified)
				}
				if _, err := c.user(r.TLS.PeerCertificates); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
