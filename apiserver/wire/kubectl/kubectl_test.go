package kubectl_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authn/pki"
	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/client/https"
	"github.com/keelson-dev/keelson/apiserver/client/stream"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/nodeproxy"
	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/keelson-dev/keelson/store"
)

type fleetSpec struct {
	Size int32  `json:"size"`
	Map  string `json:"map,omitempty"`
}

type fleetStatus struct {
	Ready int32 `json:"ready"`
}

const manifest = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: nginx, ports: [{containerPort: 80}]}
---
apiVersion: games.example.com/v1
kind: Fleet
metadata: {name: lobby}
spec: {size: 3}
`

// cluster is a control plane on a loopback port, and kubectl for it.
type cluster struct {
	t    *testing.T
	dir  string
	path string // of kubectl
	as   client.Client
}

// run runs kubectl and gives what it printed. A line that starts with ! must fail.
func (c *cluster) run(stdin, line string) string {
	c.t.Helper()
	fails := strings.HasPrefix(line, "!")
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path, strings.Fields(strings.TrimPrefix(line, "!"))...)
	cmd.Env = []string{"HOME=" + c.dir, "KUBECONFIG=" + filepath.Join(c.dir, "config"), "PATH=" + os.Getenv("PATH"), "KUBE_EDITOR=sed -i s/blue/green/"}
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	require.Equal(c.t, fails, err != nil, "kubectl %s: %v\n%s", line, err, out.String())
	return out.String()
}

// agent answers for node n1: a log of two lines, and an exec that says its command.
func agent(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/containerLogs/") {
		_, _ = io.WriteString(w, "one\ntwo\n")
		return
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{stream.Protocol}})
	if err != nil {
		return
	}
	defer func() { _ = conn.CloseNow() }()
	status := metav1.Status{Status: metav1.StatusSuccess}
	command := r.URL.Query()["command"]
	if command[0] == "false" {
		status = metav1.Status{Status: metav1.StatusFailure, Reason: "NonZeroExitCode", Message: "exit 1", Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: "ExitCode", Message: "1"}}}}
	}
	data, _ := json.Marshal(status)
	_ = conn.Write(r.Context(), websocket.MessageBinary, []byte("\x01ran "+strings.Join(command, " ")+"\n"))
	_ = conn.Write(r.Context(), websocket.MessageBinary, append([]byte{3}, data...))
	_ = conn.Close(websocket.StatusNormalClosure, "")
}

func start(t *testing.T) *cluster {
	path, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("kubectl is not installed (not in PATH): the real client is not tried")
	}
	ctx, cancel := context.WithCancel(context.Background())
	st, err := store.Open(ctx, store.Config{})
	require.NoError(t, err)
	ca, err := pki.NewCA("test", time.Hour)
	require.NoError(t, err)

	nodes := memnet.Listen("n1")
	agents := &http.Server{Handler: http.HandlerFunc(agent)}
	fleets := kind.Must(kind.Define[fleetSpec, fleetStatus]("games.example.com/v1", "Fleet"))
	srv, err := apiserver.New(st, apiserver.Config{
		Kinds: append(builtin.Kinds(), fleets.Kind()), Authenticator: authn.Certificates(ca.Pool()),
		Nodes: &nodeproxy.Config{Dial: func(ctx context.Context, _ *corev1.Node) (net.Conn, error) { return nodes.Dial(ctx) }},
	})
	require.NoError(t, err)
	pair, err := ca.Issue(pki.Request{Hosts: []string{"127.0.0.1"}})
	require.NoError(t, err)
	cert, err := pair.TLS()
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	hs := &http.Server{Handler: srv, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert}}
	done := make(chan struct{}, 3)
	for _, f := range []func(){
		func() { _ = srv.Run(ctx) }, func() { _ = hs.ServeTLS(l, "", "") }, func() { _ = agents.Serve(nodes) },
	} {
		go func() { f(); done <- struct{}{} }()
	}
	t.Cleanup(func() {
		cancel()
		_ = hs.Close()
		_ = agents.Close()
		_ = nodes.Close()
		for range cap(done) {
			<-done
		}
		require.NoError(t, st.Close())
	})
	require.NoError(t, srv.Ready(ctx))
	admin, err := ca.Issue(pki.Request{CommonName: "admin", Organizations: []string{authn.GroupMasters}})
	require.NoError(t, err)
	c := &cluster{t: t, dir: t.TempDir(), path: path, as: srv.Client(authn.System("test"))}
	require.NoError(t, https.Kubeconfig{
		Server: "https://" + l.Addr().String(), CAData: ca.CertPEM(), CertData: admin.CertPEM, KeyData: admin.KeyPEM,
	}.Write(filepath.Join(c.dir, "config")))

	ns := kind.Namespace.New()
	ns.Name = "default"
	_, err = client.For(c.as, kind.Namespace).Create(ctx, ns)
	require.NoError(t, err)
	n := kind.Node.New()
	n.Name = "n1"
	_, err = client.For(c.as, kind.Node).Create(ctx, n)
	require.NoError(t, err)
	p := kind.Pod.New()
	p.Name, p.Namespace, p.Spec.NodeName = "p", "default", "n1"
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
	_, err = client.For(c.as, kind.Pod).Create(ctx, p)
	require.NoError(t, err)
	return c
}

// TestKubectl walks through what people do. Each step says what must be in kubectl's output.
func TestKubectl(t *testing.T) {
	c := start(t)
	for _, step := range []struct{ stdin, line, want string }{
		{line: "version", want: "-keelson"},
		{line: "api-resources", want: "fleets"},
		{line: "api-versions", want: "games.example.com/v1"},
		{line: "get --raw /readyz?verbose", want: "readyz check passed"},
		{line: "auth whoami", want: "admin"},
		{line: "auth can-i create deployments", want: "yes"},
		{stdin: manifest, line: "apply -f -", want: "deployment.apps/web created\nfleet.games.example.com/lobby created"},
		{stdin: manifest, line: "apply -f -", want: "deployment.apps/web unchanged\nfleet.games.example.com/lobby unchanged"},
		{stdin: strings.ReplaceAll(manifest, "size: 3", "size: 4"), line: "apply -f -", want: "lobby configured"},
		{line: "get fleet lobby -o jsonpath={.spec.size}", want: "4"},
		{stdin: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndta: {a: b}\n", line: "!apply -f -", want: `unknown field "dta"`},
		{line: "get deploy,fleet -o wide", want: "deployment.apps/web   0/2"},
		{line: "get pods -A", want: "default     p      0/1     Pending"},
		{line: "get pods -o yaml", want: "nodeName: n1"},
		{line: "describe deploy web", want: "25% max unavailable"},
		{line: "describe fleet lobby", want: "Size:  4"},
		{line: "describe node n1", want: "n1"},
		{line: "scale deploy web --replicas=5", want: "deployment.apps/web scaled"},
		{line: "get deploy web -o jsonpath={.spec.replicas}", want: "5"},
		{line: "rollout restart deploy web", want: "restarted"},
		{line: "!rollout status deploy web --timeout=1s", want: "timed out"},
		{line: "label pod p tier=front", want: "pod/p labeled"},
		{line: "get pods -l tier=front -o name", want: "pod/p"},
		{line: "annotate pod p a=b", want: "pod/p annotated"},
		{line: "patch fleet lobby --type=merge -p {\"spec\":{\"map\":\"hill\"}}", want: "patched"},
		{line: "create configmap colour --from-literal=a=blue", want: "configmap/colour created"},
		{line: "!create configmap colour", want: "already exists"},
		{line: "edit configmap colour", want: "configmap/colour edited"},
		{line: "get cm colour -o jsonpath={.data.a}", want: "green"},
		{line: "explain pod.spec.containers.ports", want: "containerPort\t<integer> -required-"},
		{line: "explain fleet.spec", want: "size"},
		{line: "wait --for=jsonpath={.status.phase}=Pending pod/p --timeout=30s", want: "condition met"},
		{line: "logs p", want: "one\ntwo\n"},
		{line: "exec p -- echo hi", want: "ran echo hi\n"},
		{line: "!exec p -- false", want: "exit code 1"},
		{line: "!get cm gone", want: `configmaps "gone" not found`},
		{line: "!get gones", want: "doesn't have a resource type"},
		{line: "delete pod p --now", want: `pod "p" deleted`},
		{stdin: manifest, line: "delete -f -", want: `deployment.apps "web" deleted`},
		{line: "delete cm --all", want: `configmap "colour" deleted`},
		{line: "get all", want: "No resources found"},
	} {
		if step.line == "delete pod p --now" {
			step.line += " --wait=false" // no node agent is there that would finish it
		}
		if step.line == "get all" {
			c.run("", "delete pod p --grace-period=0 --force --ignore-not-found")
		}
		require.Contains(t, c.run(step.stdin, step.line), step.want, "kubectl %s", step.line)
	}
}

// TestWatching runs kubectl get -w until it has printed a change.
func TestWatching(t *testing.T) {
	c := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path, "get", "pods", "-w", "--no-headers")
	cmd.Env = []string{"HOME=" + c.dir, "KUBECONFIG=" + filepath.Join(c.dir, "config")}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "Pending")
	_, err = client.For(c.as, kind.Pod).MutateStatus(ctx, "default", "p", func(p *corev1.Pod) error {
		p.Status.Phase = corev1.PodSucceeded
		return nil
	})
	require.NoError(t, err)
	line, err = lines.ReadString('\n')
	require.NoError(t, err)
	require.Regexp(t, `p\s+0/1\s+(Succeeded|Completed)`, line)
	cancel()
	_ = cmd.Wait()
}
