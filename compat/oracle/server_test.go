package oracle

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/apiserver/authn/pki"
	"github.com/keelson-dev/keelson/compat/cluster"
	"github.com/keelson-dev/keelson/compat/member"
)

// startKeelson starts the API server alone, and gives its address with a client of its administrator's.
func startKeelson(t *testing.T) (*http.Client, string) {
	c := cluster.Start(t, keelson.Config{Without: keelson.Controllers | keelson.Scheduler})
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	require.NoError(t, err)
	client, err := rest.HTTPClientFor(config)
	require.NoError(t, err)
	t.Cleanup(client.CloseIdleConnections)
	return client, config.Host
}

// startPeer starts kube-apiserver. Where it wants etcd it gets a member of Keelson's store.
func startPeer(t *testing.T, program string) (*http.Client, string) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	ca, err := pki.NewCA("oracle", time.Hour)
	require.NoError(t, err)
	serving, err := ca.Issue(pki.Request{Hosts: []string{"127.0.0.1"}})
	require.NoError(t, err)
	admin, err := ca.Issue(pki.Request{CommonName: "admin", Organizations: []string{"system:masters"}})
	require.NoError(t, err)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	accounts := file("accounts.pem", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program,
		"--etcd-servers="+member.Start(t, member.Config{}).Endpoints[0], "--bind-address=127.0.0.1", fmt.Sprint("--secure-port=", port),
		"--tls-cert-file="+file("serving.crt", serving.CertPEM), "--tls-private-key-file="+file("serving.key", serving.KeyPEM), "--client-ca-file="+file("ca.crt", ca.CertPEM()),
		"--authorization-mode=RBAC", "--allow-privileged=true", "--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+accounts, "--service-account-signing-key-file="+accounts, "--disable-admission-plugins=ServiceAccount", "--cert-dir="+dir)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	pair, err := admin.TLS()
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{pair}}, ForceAttemptHTTP2: true}}
	t.Cleanup(client.CloseIdleConnections)
	base := fmt.Sprintf("https://127.0.0.1:%d", port)
	for {
		resp, err := client.Get(base + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return client, base
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(log.String())
		}
	}
}
