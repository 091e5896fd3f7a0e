package keelson_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authn/pki"
)

// TestCertificatesThatAreNoUsers shows the API certificates that must not open it, each answered by a Status.
func TestCertificatesThatAreNoUsers(t *testing.T) {
	dir := t.TempDir()
	cluster := start(t, keelson.Config{Listen: "127.0.0.1:0", DataDir: dir})
	cfg, err := cluster.Kubeconfig(t.Context())
	require.NoError(t, err)
	own := authorityOf(t, dir)
	foreign, err := pki.NewCA("keelson", 0)
	require.NoError(t, err)
	masters := []string{authn.GroupMasters}
	for _, tt := range []struct {
		name string
		ca   *pki.CA
		req  pki.Request
		code int
	}{
		{"an administrator", own, pki.Request{CommonName: "joe", Organizations: masters}, http.StatusOK},
		{"another authority", foreign, pki.Request{CommonName: "joe", Organizations: masters}, http.StatusUnauthorized},
		{"expired", own, pki.Request{CommonName: "joe", Organizations: masters, Validity: time.Nanosecond}, http.StatusUnauthorized},
		{"no name", own, pki.Request{Organizations: masters, Hosts: []string{"x"}, Client: true}, http.StatusUnauthorized},
		{"for servers only", own, pki.Request{CommonName: "joe", Organizations: masters, Hosts: []string{"127.0.0.1"}}, http.StatusUnauthorized},
		{"the API server's name", own, pki.Request{CommonName: "keelson-apiserver"}, http.StatusForbidden},
		{"a node", own, pki.Request{CommonName: "system:node:n", Organizations: []string{authn.GroupNodes}}, http.StatusForbidden},
		{"a user called like a group", own, pki.Request{CommonName: authn.GroupMasters}, http.StatusForbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pair, err := tt.ca.Issue(tt.req)
			require.NoError(t, err)
			cert, err := pair.TLS()
			require.NoError(t, err)
			tr := trusting(t, cfg.CAData).Transport.(*http.Transport)
			tr.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, cfg.Server+"/apis/rbac.authorization.k8s.io/v1/clusterroles", nil)
			require.NoError(t, err)
			resp, err := tr.RoundTrip(req)
			require.NoError(t, err)
			defer func() { require.NoError(t, resp.Body.Close()) }()
			require.Equal(t, tt.code, resp.StatusCode)
			if tt.code != http.StatusOK {
				var status metav1.Status
				require.NoError(t, json.NewDecoder(resp.Body).Decode(&status))
				require.Equal(t, "Status", status.Kind)
			}
		})
	}
}

// TestNobodyGetsTheAPIServersName: node agents obey it.
func TestNobodyGetsTheAPIServersName(t *testing.T) {
	cluster := start(t, keelson.Config{Listen: "127.0.0.1:0"})
	for _, name := range []string{"keelson-apiserver", ""} {
		_, err := cluster.KubeconfigFor(context.Background(), authn.User{Name: name})
		require.ErrorContains(t, err, "KubeconfigFor")
	}
}

func authorityOf(t *testing.T, dataDir string) *pki.CA {
	root, err := os.OpenRoot(filepath.Join(dataDir, "pki"))
	require.NoError(t, err)
	defer func() { require.NoError(t, root.Close()) }()
	ca, err := pki.LoadCA(root)
	require.NoError(t, err)
	return ca
}
