package keelson_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

func trusting(t *testing.T, ca []byte, certificates ...tls.Certificate) *http.Client {
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(ca))
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certificates}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// TestBadInputGetsTheRightStatus sends what no well-behaved client sends.
func TestBadInputGetsTheRightStatus(t *testing.T) {
	cluster := start(t, keelson.Config{Listen: "127.0.0.1:0"})
	cfg, err := cluster.Kubeconfig(t.Context())
	require.NoError(t, err)
	cert, err := tls.X509KeyPair(cfg.CertData, cfg.KeyData)
	require.NoError(t, err)
	hc := trusting(t, cfg.CAData, cert)

	stale, err := client.For(cluster.Client(), kind.ConfigMap).Create(t.Context(), configMap("stale"))
	require.NoError(t, err)
	staleBody := fmt.Sprintf(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"stale","namespace":"default","resourceVersion":%q},"data":{"a":"b"}}`, stale.ResourceVersion)
	_, err = client.For(cluster.Client(), kind.ConfigMap).Patch(t.Context(), "default", "stale", "application/merge-patch+json", []byte(`{"data":{"x":"y"}}`))
	require.NoError(t, err)

	maps := "/api/v1/namespaces/default/configmaps"
	for _, tc := range []struct {
		name, method, path, contentType, body string
		code                                  int
		reason                                metav1.StatusReason
		text                                  string
	}{
		{"malformed JSON", "POST", maps, "application/json", `{"metadata":`, 400, metav1.StatusReasonBadRequest, ""},
		{"malformed YAML", "POST", maps, "application/yaml", "a: [", 400, metav1.StatusReasonBadRequest, ""},
		{"malformed protobuf", "POST", maps, "application/vnd.kubernetes.protobuf", "k8s\x00\xff\xff", 400, metav1.StatusReasonBadRequest, ""},
		{"unknown field", "POST", maps + "?fieldValidation=Strict", "application/json", `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"dta":{}}`, 400, metav1.StatusReasonBadRequest, `unknown field "dta"`},
		{"duplicate field", "POST", maps + "?fieldValidation=Strict", "application/json", `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{},"data":{}}`, 400, metav1.StatusReasonBadRequest, "duplicate field"},
		{"wrong kind", "POST", maps, "application/json", `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}`, 400, metav1.StatusReasonBadRequest, "Pod"},
		{"oversized", "POST", maps, "application/json", `{"data":{"a":"` + strings.Repeat("x", 4<<20) + `"}}`, 413, metav1.StatusReasonRequestEntityTooLarge, ""},
		{"deeply nested", "POST", maps, "application/json", strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000), 400, metav1.StatusReasonBadRequest, ""},
		{"invalid object", "POST", maps, "application/json", `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"Not A Name"}}`, 422, metav1.StatusReasonInvalid, "metadata.name"},
		{"stale revision", "PUT", maps + "/stale", "application/json", staleBody, 409, metav1.StatusReasonConflict, ""},
		{"unknown media type", "POST", maps, "text/plain", "hello", 415, metav1.StatusReasonUnsupportedMediaType, ""},
		{"unknown resource", "GET", "/api/v1/nonsense", "", "", 404, metav1.StatusReasonNotFound, ""},
		{"bad selector", "GET", maps + "?labelSelector=a%3D%3D%3D", "", "", 400, metav1.StatusReasonBadRequest, ""},
		{"bad continue token", "GET", maps + "?continue=zzz", "", "", 400, metav1.StatusReasonBadRequest, ""},
		{"bad patch", "PATCH", maps + "/stale", "application/json-patch+json", `{"not":"a list"}`, 400, metav1.StatusReasonBadRequest, ""},
		{"method", "PUT", maps, "application/json", "{}", 405, metav1.StatusReasonMethodNotAllowed, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tc.method, cfg.Server+tc.path, strings.NewReader(tc.body))
			require.NoError(t, err)
			if tc.contentType != "" {
				req.Header.Set("Content-Type", tc.contentType)
			}
			resp, err := hc.Do(req)
			require.NoError(t, err)
			defer func() { require.NoError(t, resp.Body.Close()) }()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, tc.code, resp.StatusCode, "%s", body)
			var status metav1.Status
			require.NoError(t, json.Unmarshal(body, &status), "%s", body)
			require.Equal(t, "Status", status.Kind)
			require.Equal(t, tc.reason, status.Reason, "%s", body)
			require.Equal(t, int32(tc.code), status.Code)
			require.Contains(t, status.Message, tc.text)
		})
	}
}

// writer is the process that TestKillLosesNoAcknowledgedWrite kills: it says the number of each object once it is
// written.
func writer(dir string) {
	cluster, err := keelson.New(keelson.Config{DataDir: dir})
	if err == nil {
		go func() { err = cluster.Run(context.Background()) }()
		for i := 0; ; i++ {
			if _, err := client.For(cluster.Client(), kind.ConfigMap).Create(context.Background(), configMap("n"+strconv.Itoa(i))); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			fmt.Println(i)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestKillLosesNoAcknowledgedWrite(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), "KEELSON_TEST_WRITER="+dir)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	acknowledged := -1
	for lines.Scan() {
		acknowledged, err = strconv.Atoi(lines.Text())
		require.NoError(t, err)
		if acknowledged == 100 {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.Error(t, cmd.Wait(), "it was killed")
	require.GreaterOrEqual(t, acknowledged, 100, "the writer wrote too little to test anything: %s", problems.String())

	cluster := start(t, keelson.Config{DataDir: dir})
	for i := range acknowledged + 1 {
		_, err := client.For(cluster.Client(), kind.ConfigMap).Get(t.Context(), "default", "n"+strconv.Itoa(i))
		require.NoError(t, err, "write %d was acknowledged", i)
	}
}
