package kubelet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller/controllertest"
	"github.com/keelson-dev/keelson/kubelet"
	"github.com/keelson-dev/keelson/runtime/runtimetest"
)

// TestHandler uses real sockets, so it runs in real time.
func TestHandler(t *testing.T) {
	n := newNode(t, runtimetest.New(runtimetest.Config{
		Behave: func(p runtimetest.Process) runtimetest.Behavior {
			return runtimetest.Behavior{Stdout: fmt.Sprintf("hello from %d\nready\n", p.Attempt)}
		},
		Exec: func(_ context.Context, p runtimetest.Process) ([]byte, []byte, error) {
			return []byte("ran " + strings.Join(p.Command, " ")), nil, nil
		},
	}))
	n.run(podOf("web", serving))
	n.wait("web", ready)
	n.run(podOf("waits", `containers: [{name: main, image: app, command: [serve], envFrom: [{configMapRef: {name: absent}}]}]`))
	n.wait("waits", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting.Reason == "CreateContainerConfigError"
	})
	server := httptest.NewServer(n.k.Handler())
	defer server.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport}
	get := func(path string) (int, string) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, nil)
		require.NoError(t, err)
		resp, err := c.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	for path, want := range map[string]string{
		"/healthz":                                      "200 ok",
		"/containerLogs/default/web/main":               "200 hello from 0\nready\n",
		"/containerLogs/default/web/main?tailLines=1":   "200 ready\n",
		"/containerLogs/default/web/main?limitBytes=3":  "200 hel",
		"/containerLogs/default/web/main?tailLines=-1":  "400 tailLines=\"-1\": want a number of 0 or more\n",
		"/containerLogs/default/web/main?follow=maybe":  "400 follow=\"maybe\": want true or false\n",
		"/containerLogs/default/web/main?sinceTime=now": "400 sinceTime=\"now\": want a time such as 2026-01-02T15:04:05Z\n",
		"/containerLogs/default/web/main?previous=true": "400 previous terminated container \"main\" in pod default/web not found\n",
		"/containerLogs/default/web/other":              "404 pod default/web has no container \"other\"\n",
		"/containerLogs/default/none/main":              "404 pod default/none is not on node n1\n",
		"/containerLogs/default/waits/main":             "400 container \"main\" in pod default/waits is waiting to start: CreateContainerConfigError\n",
		"/exec/default/web/main?output=1":               "400 command is required, once per argument\n",
		"/exec/default/web/main?command=x":              "400 at least one of input, output and error must be asked for\n",
	} {
		code, body := get(path)
		require.Equal(t, want, fmt.Sprintf("%d %s", code, body), path)
	}
	resp, err := c.Post(server.URL+"/exec/default/web/main?command=x&output=1", "", nil)
	require.NoError(t, err)
	why, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Contains(t, string(why), "SPDY/3.1 with an Upgrade header", "SPDY is a POST")
	_, body := get("/pods")
	var pods corev1.PodList
	require.NoError(t, json.Unmarshal([]byte(body), &pods))
	require.Equal(t, "web", pods.Items[1].Name)
	_, body = get("/stats/summary")
	require.Contains(t, body, `"podRef":{"name":"web"`)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, server.URL+"/exec/default/web/main?command=echo&command=hi&output=1&error=1",
		&websocket.DialOptions{Subprotocols: []string{"v5.channel.k8s.io"}, HTTPClient: c})
	require.NoError(t, err)
	out := map[byte]string{}
	for {
		_, m, err := conn.Read(ctx)
		if err != nil {
			require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(err))
			break
		}
		out[m[0]] += string(m[1:])
	}
	require.Equal(t, map[byte]string{1: "ran echo hi", 3: `{"metadata":{},"status":"Success"}`}, out)

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/containerLogs/default/web/main?follow=true", nil)
	require.NoError(t, err)
	resp, err = c.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	n.rt.ExitPod("default/web", "main", 1) // the answer has begun, so it is about the container that ends now
	followed, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "hello from 0\nready\n", string(followed), "following ends with the container")
	controllertest.WaitFor(n.cp, kind.Pod, "default", "web", func(p *corev1.Pod) bool {
		return p.Status.ContainerStatuses[0].RestartCount == 1 && p.Status.ContainerStatuses[0].State.Running != nil
	})
	_, body = get("/containerLogs/default/web/main?previous=true")
	require.Equal(t, "hello from 0\nready\n", body)
	_, body = get("/containerLogs/default/web/main")
	require.Equal(t, "hello from 1\nready\n", body)
}

func TestHandlerAuthorizes(t *testing.T) {
	k, err := kubelet.New(controllertest.New(t).Client, runtimetest.New(runtimetest.Config{}), kubelet.Config{
		NodeName: "n1", Root: t.TempDir(), Authorize: func(*http.Request) error { return errors.New("a client certificate is required") },
	})
	require.NoError(t, err)
	for path, want := range map[string]int{"/healthz": 200, "/pods": 403, "/exec/a/b/c": 403, "/containerLogs/a/b/c": 403} {
		w := httptest.NewRecorder()
		k.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, want, w.Code, path)
	}
}
