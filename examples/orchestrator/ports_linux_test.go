package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// asServer makes this test's executable a server, for a pod to run: it greets on the port that it names.
const asServer = "KEELSON_TEST_PORT"

func greet(port string) error {
	l, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("POD_IP"), port))
	if err != nil {
		return err
	}
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "hello from %s%s", os.Getenv("HOSTNAME"), r.URL.Path)
	}))
}

// TestPortForward reaches a pod's port through the control plane and its node's agent with kubectl.
func TestPortForward(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	k := m.kubectl()
	p := m.start()
	k.pod("web", 1, "exec env "+asServer+"=8080 "+m.executable)
	forward := k.follow("port-forward", "pod/web", ":8080", ":8099", "--address", "127.0.0.1")
	forward.out.wait(t, "-> 8099")
	local := regexp.MustCompile(`127\.0\.0\.1:(\d+) -> 8080`).FindStringSubmatch(forward.out.String())
	require.NotNil(t, local, forward.out.String())
	transport := &http.Transport{DisableKeepAlives: true}
	for n := range 3 {
		var body []byte
		require.Eventually(t, func() bool { // ready means that the process runs, it may not listen yet
			resp, err := (&http.Client{Transport: transport}).Get(fmt.Sprintf("http://127.0.0.1:%s/%d", local[1], n))
			if err != nil {
				return false
			}
			defer func() { _ = resp.Body.Close() }()
			body, err = io.ReadAll(resp.Body)
			return err == nil
		}, patience, patience/1000)
		require.Equal(t, fmt.Sprintf("hello from web/%d", n), string(body))
	}
	other := regexp.MustCompile(`127\.0\.0\.1:(\d+) -> 8099`).FindStringSubmatch(forward.out.String())
	require.NotNil(t, other)
	_, err := (&http.Client{Transport: transport}).Get("http://127.0.0.1:" + other[1])
	require.Error(t, err, "nobody listens there")
	forward.out.wait(t, "error forwarding port 8099")
	_ = forward.signal(syscall.SIGTERM) // by which it ends, and says so
	require.NoError(t, p.signal(syscall.SIGTERM))
	require.Empty(t, m.processes())
}
