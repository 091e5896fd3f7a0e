package nodeproxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/authn/pki"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/client/stream"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/nodeproxy"
	"github.com/keelson-dev/keelson/internal/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// objects is a client that only gets.
type objects map[string]kind.Instance

func (o objects) Do(_ context.Context, req *client.Request) (*client.Response, error) {
	obj, ok := o[req.Kind.Name+" "+req.Name]
	if !ok {
		return nil, apierrors.NewNotFound(req.Kind.GroupResource(), req.Name)
	}
	return &client.Response{Object: obj}, nil
}

func (o objects) Watch(context.Context, *client.Request) (client.Watcher, error) {
	return nil, errors.New("no watches here")
}

func cluster() objects {
	p := kind.Pod.New()
	p.Name, p.Namespace, p.Spec.NodeName = "p", "x", "n1"
	p.Spec.Containers = []corev1.Container{{Name: "c"}}
	p.Spec.InitContainers = []corev1.Container{{Name: "init"}}
	two := kind.Pod.Copy(p)
	two.Name, two.Spec.Containers = "two", []corev1.Container{{Name: "a"}, {Name: "b"}}
	waiting := kind.Pod.Copy(p)
	waiting.Name, waiting.Spec.NodeName = "waiting", ""
	n := kind.Node.New()
	n.Name = "n1"
	return objects{"Pod p": p, "Pod two": two, "Pod waiting": waiting, "Node n1": n}
}

// agent stands in for a node agent: it tells what it was asked, and its exec echoes stdin in capitals.
func agent(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/exec/") {
		if r.URL.Query().Get("tailLines") == "13" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, "no such container")
			return
		}
		_, _ = fmt.Fprintf(w, "%s?%s auth=%q", r.URL.Path, r.URL.RawQuery, r.Header.Get("Authorization"))
		return
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{stream.Protocol}})
	if err != nil {
		return
	}
	defer func() { _ = conn.CloseNow() }()
	send := func(channel byte, text string) {
		_ = conn.Write(r.Context(), websocket.MessageBinary, append([]byte{channel}, text...))
	}
	q := r.URL.Query()
	code := 0
	switch q["command"][0] {
	case "fail":
		code = 3
		send(2, "oops")
	case "cat":
		for {
			_, msg, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			if msg[0] == 255 {
				break
			}
			send(1, strings.ToUpper(string(msg[1:])))
		}
	case "hang":
		_, _, _ = conn.Read(r.Context())
		return
	default:
		send(1, strings.Join(q["command"], " ")+" "+q.Get("output")+q.Get("error")+q.Get("tty"))
	}
	s := metav1.Status{Status: metav1.StatusSuccess}
	if code != 0 {
		s = metav1.Status{Status: metav1.StatusFailure, Reason: "NonZeroExitCode", Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: "ExitCode", Message: strconv.Itoa(code)}}}}
	}
	data, _ := json.Marshal(s)
	send(3, string(data))
	_ = conn.Close(websocket.StatusNormalClosure, "")
}

// start runs an agent in memory behind mutual TLS, and a proxy to it.
func start(t *testing.T) *nodeproxy.Proxy {
	ca, err := pki.NewCA("ca", time.Hour)
	require.NoError(t, err)
	certificate := func(r pki.Request) tls.Certificate {
		pair, err := ca.Issue(r)
		require.NoError(t, err)
		cert, err := pair.TLS()
		require.NoError(t, err)
		return cert
	}
	l := memnet.Listen("n1")
	server := &http.Server{Handler: http.HandlerFunc(agent)}
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate(pki.Request{Hosts: []string{"n1"}})}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ServeTLS(l, "", "")
	}()
	t.Cleanup(func() {
		_ = server.Close()
		_ = l.Close()
		<-done
	})
	p, err := nodeproxy.New(cluster(), nodeproxy.Config{
		Dial: func(ctx context.Context, node *corev1.Node) (net.Conn, error) {
			return l.DialContext(ctx, "mem", node.Name)
		},
		TLS: &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{certificate(pki.Request{CommonName: "control-plane"})}},
	})
	require.NoError(t, err)
	return p
}

func TestLogs(t *testing.T) {
	p := start(t)
	read := func(pod string, o corev1.PodLogOptions) (string, error) {
		r, err := p.Logs(t.Context(), "x", pod, o)
		if err != nil {
			return "", err
		}
		defer func() { _ = r.Close() }()
		data, err := io.ReadAll(r)
		return string(data), err
	}
	got, err := read("p", corev1.PodLogOptions{Follow: true, TailLines: new(int64(5)), Timestamps: true})
	require.NoError(t, err)
	require.Equal(t, `/containerLogs/x/p/c?follow=true&tailLines=5&timestamps=true auth=""`, got)
	got, err = read("p", corev1.PodLogOptions{Container: "init", Previous: true, SinceSeconds: new(int64(9)), LimitBytes: new(int64(7))})
	require.NoError(t, err)
	require.Equal(t, `/containerLogs/x/p/init?limitBytes=7&previous=true&sinceSeconds=9 auth=""`, got)

	for name, tt := range map[string]struct {
		pod  string
		o    corev1.PodLogOptions
		code int32
		text string
	}{
		"no pod":            {"gone", corev1.PodLogOptions{}, 404, `"gone" not found`},
		"not scheduled":     {"waiting", corev1.PodLogOptions{}, 400, "does not have a host"},
		"which container":   {"two", corev1.PodLogOptions{}, 400, "choose one of: [a b]"},
		"no such container": {"p", corev1.PodLogOptions{Container: "z"}, 400, "not valid for pod"},
		"bad number":        {"p", corev1.PodLogOptions{SinceSeconds: new(int64(0))}, 400, "sinceSeconds"},
		"agent says no":     {"p", corev1.PodLogOptions{TailLines: new(int64(13))}, 404, "no such container"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(tt.pod, tt.o)
			var s apierrors.APIStatus
			require.ErrorAs(t, err, &s)
			require.Equal(t, tt.code, s.Status().Code)
			require.Contains(t, s.Status().Message, tt.text)
		})
	}
}

func TestExec(t *testing.T) {
	p := start(t)
	exec := func(in io.Reader, command ...string) (string, string, error) {
		var out, errOut bytes.Buffer
		err := p.Exec(t.Context(), "x", "p", corev1.PodExecOptions{Command: command}, client.Streams{Stdin: in, Stdout: &out, Stderr: &errOut})
		return out.String(), errOut.String(), err
	}
	out, _, err := exec(nil, "echo", "a b")
	require.NoError(t, err)
	require.Equal(t, "echo a b 11", out)
	out, _, err = exec(strings.NewReader(strings.Repeat("x", 100<<10)), "cat")
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("X", 100<<10), out)
	_, errOut, err := exec(nil, "fail")
	var exit *client.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 3, exit.Code)
	require.Equal(t, "oops", errOut)
	require.NoError(t, p.Exec(t.Context(), "x", "p", corev1.PodExecOptions{Command: []string{"echo"}}, client.Streams{}))
	require.True(t, apierrors.IsBadRequest(p.Exec(t.Context(), "x", "p", corev1.PodExecOptions{}, client.Streams{})))

	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	require.ErrorIs(t, p.Exec(ctx, "x", "p", corev1.PodExecOptions{Command: []string{"hang"}}, client.Streams{}), context.Canceled)
}

func TestPassingThrough(t *testing.T) {
	p := start(t)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sub := strings.TrimPrefix(r.URL.Path, "/")
		if err := p.ServeHTTP(w, r, "x", "p", sub); err != nil {
			status := err.(*apierrors.StatusError).Status()
			http.Error(w, string(status.Reason)+" "+status.Message, int(status.Code))
		}
	}))
	defer front.Close()
	get := func(path string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", front.URL+path, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer secret")
		resp, err := front.Client().Do(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(data)
	}
	code, body := get("/log?container=c&follow=true&pretty=1")
	require.Equal(t, 200, code)
	require.Equal(t, `/containerLogs/x/p/c?follow=true auth=""`, body, "the client's credentials must not reach the agent")
	code, body = get("/log?tailLines=13")
	require.Equal(t, 404, code)
	require.Equal(t, "NotFound no such container\n", body, "what an agent says in plain text becomes a status")
	code, body = get("/attach?stdout=1")
	require.Equal(t, 200, code)
	require.Contains(t, body, "/attach/x/p/c?output=1")
	_, body = get("/portforward?ports=80&ports=81")
	require.Contains(t, body, "/portForward/x/p?port=80&port=81")
	code, _ = get("/exec?stdout=1")
	require.Equal(t, 400, code, "a command is required")
	code, _ = get("/exec?command=ls")
	require.Equal(t, 400, code, "a stream is required")
	code, _ = get("/proxy")
	require.Equal(t, 400, code)

	u, err := url.Parse(front.URL + "/exec?command=cat&stdin=1&stdout=1")
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, stream.Exec(t.Context(), front.Client(), u, nil, client.Streams{Stdin: strings.NewReader("hello"), Stdout: &out}))
	require.Equal(t, "HELLO", out.String())
	u.RawQuery = ""
	require.True(t, apierrors.IsBadRequest(stream.Exec(t.Context(), front.Client(), u, nil, client.Streams{Stdout: &out})))
}

func TestAddress(t *testing.T) {
	n := kind.Node.New()
	_, err := nodeproxy.Address(n)
	require.Error(t, err)
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "host"}, {Type: corev1.NodeInternalIP, Address: "fd00::1"}}
	got, err := nodeproxy.Address(n)
	require.NoError(t, err)
	require.Equal(t, "[fd00::1]:10250", got)
	n.Status.DaemonEndpoints.KubeletEndpoint.Port = 7
	n.Status.Addresses = n.Status.Addresses[:1]
	got, err = nodeproxy.Address(n)
	require.NoError(t, err)
	require.Equal(t, "host:7", got)
}

func TestUnreachableAgentIsAStatus(t *testing.T) {
	p, err := nodeproxy.New(cluster(), nodeproxy.Config{Dial: func(context.Context, *corev1.Node) (net.Conn, error) { return nil, errors.New("refused") }})
	require.NoError(t, err)
	_, err = p.Logs(t.Context(), "x", "p", corev1.PodLogOptions{})
	require.True(t, apierrors.IsInternalError(err), err)
	err = p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), "x", "p", "log")
	require.True(t, apierrors.IsInternalError(err), err)
	_, err = nodeproxy.New(nil, nodeproxy.Config{})
	require.Error(t, err)
}

func ExampleServes() {
	fmt.Println(nodeproxy.Serves("log"), nodeproxy.Serves("status"))
	// Output: true false
}
