package cri_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"github.com/keelson-dev/keelson/runtime/cri"
	"github.com/keelson-dev/keelson/runtime/runtimetest"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves a fake on a unix socket, and returns its path.
func serve(t *testing.T, fake *runtimetest.Runtime) string {
	dir, err := os.MkdirTemp("", "cri") // a test's own directory may be too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", path)
	require.NoError(t, err)
	server := grpc.NewServer()
	cri.Register(server, fake)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-ended)
		require.NoError(t, fake.Close(context.Background()))
	})
	return path
}

func dial(t *testing.T, endpoint string, config cri.Config) *cri.Runtime {
	r, err := cri.Dial(t.Context(), endpoint, config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close(context.Background())) })
	return r
}

func TestSuite(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) kruntime.Runtime {
		return dial(t, "unix://"+serve(t, runtimetest.New(runtimetest.Config{})), cri.Config{})
	})
}

// A call that the runtime never answers ends with its time, and the next one is served.
func TestCallTimeout(t *testing.T) {
	fake := runtimetest.New(runtimetest.Config{})
	r := dial(t, serve(t, fake), cri.Config{CallTimeout: 50 * time.Millisecond})
	fake.SetFault(func(c runtimetest.Call) runtimetest.Fault {
		return runtimetest.Fault{Hang: c.Method == "ListPodSandbox"}
	})
	_, err := r.ListPodSandbox(t.Context(), nil)
	require.Equal(t, codes.DeadlineExceeded, status.Code(err), "%v", err)
	require.Equal(t, 1, fake.Faulted())
	fake.SetFault(nil)
	_, err = r.ListPodSandbox(t.Context(), nil)
	require.NoError(t, err)
}

// A broken event stream is reported, so that the reader lists and opens another.
func TestEventsBreak(t *testing.T) {
	fake := runtimetest.New(runtimetest.Config{})
	r := dial(t, serve(t, fake), cri.Config{})
	ended := make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		ended <- r.GetContainerEvents(t.Context(), make(chan *runtimeapi.ContainerEventResponse),
			func(runtimeapi.RuntimeService_GetContainerEventsClient) { close(ready) })
	}()
	<-ready
	fake.Restart(false)
	require.Equal(t, codes.Unavailable, status.Code(<-ended))
}

func TestBadEndpoints(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for endpoint, want := range map[string]string{
		"":                           "endpoint is empty",
		"http://localhost":           "want unix or tcp",
		"/no/such/socket":            "/no/such/socket",
		"unix:///no/such/socket/too": "/no/such/socket/too",
	} {
		_, err := cri.Dial(ctx, endpoint, cri.Config{})
		require.ErrorContains(t, err, want, "endpoint %q", endpoint)
	}
	_, err := cri.Dial(ctx, "/x", cri.Config{CallTimeout: -1})
	require.ErrorContains(t, err, "Config.CallTimeout")
	_, err = cri.Dial(ctx, "/x", cri.Config{PullTimeout: -1})
	require.ErrorContains(t, err, "Config.PullTimeout")
}

// The real thing, where the machine has it. CONTAINER_RUNTIME_ENDPOINT, crictl's variable, says where, and that it must work.
func TestContainerd(t *testing.T) {
	endpoint := os.Getenv("CONTAINER_RUNTIME_ENDPOINT")
	if endpoint == "" {
		endpoint = "unix:///run/containerd/containerd.sock"
		conn, err := net.Dial("unix", strings.TrimPrefix(endpoint, "unix://"))
		if err != nil {
			t.Skipf("no containerd to talk to (set CONTAINER_RUNTIME_ENDPOINT to try another): %v", err)
		}
		conn.Close()
	}
	r := dial(t, endpoint, cri.Config{CallTimeout: 10 * time.Second})
	version, err := r.Version(t.Context(), "v1")
	require.NoError(t, err)
	t.Logf("%s %s", version.RuntimeName, version.RuntimeVersion)
	answer, err := r.Status(t.Context(), false)
	require.NoError(t, err)
	require.NotEmpty(t, answer.Status.Conditions)
	_, err = r.ContainerStatus(t.Context(), "keelson-test-none", false)
	require.Equal(t, codes.NotFound, status.Code(err))
}

func Example() {
	dir, _ := os.MkdirTemp("", "cri")
	defer os.RemoveAll(dir)
	listener, _ := net.Listen("unix", filepath.Join(dir, "s"))
	server := grpc.NewServer()
	cri.Register(server, runtimetest.New(runtimetest.Config{}))
	go server.Serve(listener)
	defer server.Stop()

	ctx := context.Background()
	rt, err := cri.Dial(ctx, filepath.Join(dir, "s"), cri.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rt.Close(ctx)
	version, _ := rt.Version(ctx, "v1")
	fmt.Println(version.RuntimeName, version.RuntimeApiVersion)
	// Output: fake v1
}
