package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/apiserver/authn/pki"
)

func ExampleCA() {
	ca, err := pki.NewCA("keelson", 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	pair, err := ca.Issue(pki.Request{CommonName: "admin", Organizations: []string{"system:masters"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	block, _ := pem.Decode(pair.CertPEM)
	cert, err := x509.ParseCertificate(block.Bytes)
	fmt.Println(cert.Subject, cert.Issuer, err)
	// Output: CN=admin,O=system:masters CN=keelson <nil>
}

func parse(t *testing.T, p *pki.Pair) *x509.Certificate {
	block, _ := pem.Decode(p.CertPEM)
	cert, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return cert
}

func TestMutualTLS(t *testing.T) {
	ca, err := pki.NewCA("ca", time.Hour)
	require.NoError(t, err)
	tlsOf := func(r pki.Request) tls.Certificate {
		pair, err := ca.Issue(r)
		require.NoError(t, err)
		cert, err := pair.TLS()
		require.NoError(t, err)
		return cert
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{tlsOf(pki.Request{Hosts: []string{"127.0.0.1", "api"}})}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}
	s.StartTLS()
	defer s.Close()
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{tlsOf(pki.Request{CommonName: "jane"})}}}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get(s.URL)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "jane", string(body))
}

func TestSaveAndLoad(t *testing.T) {
	dir, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer func() { _ = dir.Close() }()
	_, err = pki.LoadCA(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	ca, err := pki.LoadOrNewCA(dir, "ca")
	require.NoError(t, err)
	again, err := pki.LoadOrNewCA(dir, "ca")
	require.NoError(t, err)
	require.Equal(t, ca.CertPEM(), again.CertPEM())
	if runtime.GOOS != "windows" {
		info, err := dir.Stat("ca.key")
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	}
	pair, err := again.Issue(pki.Request{CommonName: "x"})
	require.NoError(t, err)
	require.NoError(t, pair.Save(dir, "x"))
	loaded, err := pki.LoadPair(dir, "x")
	require.NoError(t, err)
	require.Equal(t, pair, loaded)
	_, err = parse(t, loaded).Verify(x509.VerifyOptions{Roots: ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	require.NoError(t, err)

	require.NoError(t, dir.WriteFile("x.key", []byte("broken"), 0o600))
	_, err = pki.LoadPair(dir, "x")
	require.Error(t, err)
	_, err = pki.ParseCA(pair.CertPEM, pair.KeyPEM)
	require.ErrorContains(t, err, "not an authority's")
	_, err = ca.Issue(pki.Request{})
	require.Error(t, err)
	_, err = pki.NewCA("", 0)
	require.Error(t, err)
}

func TestValidityFollowsTheBubblesClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, err := pki.NewCA("ca", 48*time.Hour)
		require.NoError(t, err)
		pair, err := ca.Issue(pki.Request{CommonName: "x", Validity: time.Hour})
		require.NoError(t, err)
		cert := parse(t, pair)
		verify := func() error {
			_, err := cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			return err
		}
		require.Equal(t, 2000, cert.NotBefore.AddDate(0, 0, 1).Year())
		require.NoError(t, verify())
		<-time.After(2 * time.Hour)
		require.Error(t, verify())
		pair, err = ca.Issue(pki.Request{CommonName: "x"})
		require.NoError(t, err)
		require.WithinDuration(t, time.Now().Add(46*time.Hour), parse(t, pair).NotAfter, time.Minute, "outlasts the authority")
	})
}
