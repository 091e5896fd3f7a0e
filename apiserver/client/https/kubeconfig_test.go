package https_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/apiserver/authn/pki"
	"github.com/keelson-dev/keelson/apiserver/client/https"
)

func ExampleKubeconfig() {
	data, err := https.Kubeconfig{Server: "https://127.0.0.1:6443", CAData: []byte("ca"), Token: "s3cret"}.Encode()
	fmt.Println(err)
	fmt.Print(string(data))
	// Output:
	// <nil>
	// apiVersion: v1
	// clusters:
	// - cluster:
	//     certificate-authority-data: Y2E=
	//     server: https://127.0.0.1:6443
	//   name: keelson
	// contexts:
	// - context:
	//     cluster: keelson
	//     user: keelson
	//   name: keelson
	// current-context: keelson
	// kind: Config
	// users:
	// - name: keelson
	//   user:
	//     token: s3cret
}

func ExampleNew() {
	c, err := https.New(https.Config{Server: "https://127.0.0.1:6443", Token: "s3cret"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Close())
	// Output: <nil>
}

func TestKubeconfigRoundTrip(t *testing.T) {
	ca, err := pki.NewCA("ca", time.Hour)
	require.NoError(t, err)
	pair, err := ca.Issue(pki.Request{CommonName: "admin"})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "config")
	want := https.Kubeconfig{Server: "https://127.0.0.1:1", CAData: ca.CertPEM(), ServerName: "api", CertData: pair.CertPEM, KeyData: pair.KeyPEM, Namespace: "x"}
	require.NoError(t, want.Write(path))
	got, err := https.LoadKubeconfig(path)
	require.NoError(t, err)
	require.Equal(t, https.Config{Server: want.Server, CAData: want.CAData, ServerName: "api", CertData: want.CertData, KeyData: want.KeyData}, got)
	c, err := https.FromKubeconfig(path)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Error(t, want.Write(filepath.Join(path, "below", "a file")))
	require.Error(t, https.Kubeconfig{}.Write(path))
}

func TestKubeconfigFilesAreRelative(t *testing.T) {
	dir := t.TempDir()
	write := func(name, data string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600))
	}
	write("token", "s3cret\n")
	write("ca.pem", "pem")
	write("config", `
current-context: b
contexts:
- {name: a, context: {cluster: gone, user: u}}
- {name: b, context: {cluster: c, user: u}}
clusters:
- {name: c, cluster: {server: "https://h", certificate-authority: ca.pem, insecure-skip-tls-verify: true}}
users:
- {name: u, user: {tokenFile: token}}
`)
	got, err := https.LoadKubeconfig(filepath.Join(dir, "config"))
	require.NoError(t, err)
	require.Equal(t, https.Config{Server: "https://h", CAData: []byte("pem"), Insecure: true, Token: "s3cret", CertData: nil}, got)

	for content, want := range map[string]string{
		"current-context: x": `current-context "x"`,
		"current-context: a\ncontexts: [{name: a, context: {cluster: c}}]":                                                                                                               `cluster "c"`,
		"current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: x}}]":                                                         `user "u"`,
		"current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {proxy-url: x}}]":                                                      "proxy-url",
		"current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: x}}]\nusers: [{name: u, user: {exec: {command: x}}}]":         "no exec",
		"current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {certificate-authority: gone}}]\nusers: [{name: u, user: {token: x}}]": "certificate-authority",
		"[": "kubeconfig",
	} {
		write("bad", content)
		_, err := https.LoadKubeconfig(filepath.Join(dir, "bad"))
		require.ErrorContains(t, err, want)
	}
}
