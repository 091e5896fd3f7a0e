package runtimetest_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"github.com/keelson-dev/keelson/runtime/runtimetest"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSuite(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) kruntime.Runtime {
		r := runtimetest.New(runtimetest.Config{})
		t.Cleanup(func() { r.Close(context.Background()) })
		return r
	})
}

func run(t *testing.T, r *runtimetest.Runtime, name string, command ...string) (pod, container string) {
	t.Helper()
	pod, err := r.RunPodSandbox(t.Context(), &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "ns", Uid: name}}, "")
	require.NoError(t, err)
	container, err = r.CreateContainer(t.Context(), pod, &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "c"}, Command: command, Image: &runtimeapi.ImageSpec{Image: "img"}}, nil)
	require.NoError(t, err)
	require.NoError(t, r.StartContainer(t.Context(), container))
	return pod, container
}

func state(t *testing.T, r *runtimetest.Runtime, id string) *runtimeapi.ContainerStatus {
	t.Helper()
	answer, err := r.ContainerStatus(t.Context(), id, false)
	require.NoError(t, err)
	return answer.Status
}

// A day of a process, and an hour of patience with one, take no time in a bubble.
func TestVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runtimetest.New(runtimetest.Config{PullTime: time.Hour})
		defer r.Close(context.Background())
		_, c := run(t, r, "sleeper", "sh", "-c", "sleep 86400; exit 3")
		time.Sleep(24*time.Hour - time.Second)
		require.Equal(t, runtimeapi.ContainerState_CONTAINER_RUNNING, state(t, r, c).State)
		time.Sleep(time.Second)
		synctest.Wait()
		s := state(t, r, c)
		require.Equal(t, runtimeapi.ContainerState_CONTAINER_EXITED, s.State)
		require.EqualValues(t, 3, s.ExitCode)
		require.Equal(t, 24*time.Hour, time.Duration(s.FinishedAt-s.StartedAt))

		_, c = run(t, r, "stubborn", "sh", "-c", "trap '' TERM; sleep 1000000")
		start := time.Now()
		require.NoError(t, r.StopContainer(t.Context(), c, 3600))
		require.Equal(t, time.Hour, time.Since(start))
		require.EqualValues(t, 137, state(t, r, c).ExitCode)

		start = time.Now()
		_, err := r.PullImage(t.Context(), &runtimeapi.ImageSpec{Image: "img"}, nil, nil)
		require.NoError(t, err)
		require.Equal(t, time.Hour, time.Since(start))
		_, c = run(t, r, "probed", "server")
		_, _, err = r.ExecSync(t.Context(), c, []string{"sleep", "100"}, 10*time.Second)
		require.Equal(t, codes.DeadlineExceeded, status.Code(err))
	})
}

func TestBehave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked runtimetest.Process
		r := runtimetest.New(runtimetest.Config{
			Addresses: netip.MustParsePrefix("10.1.0.0/29"),
			Behave: func(p runtimetest.Process) runtimetest.Behavior {
				asked = p
				return runtimetest.Behavior{StopTime: 5 * time.Second, TermCode: 9}
			},
		})
		defer r.Close(context.Background())
		pod, c := run(t, r, "web", "server", "--port", "80")
		require.Equal(t, "ns/web", asked.Pod)
		require.Equal(t, []string{"server", "--port", "80"}, asked.Command)
		require.Equal(t, "img", asked.Image)
		require.Equal(t, "10.1.0.1", asked.Address.String())
		time.Sleep(1000 * time.Hour)
		require.Equal(t, runtimeapi.ContainerState_CONTAINER_RUNNING, state(t, r, c).State, "runs until it is stopped")
		start := time.Now()
		require.NoError(t, r.StopContainer(t.Context(), c, 30))
		require.Equal(t, 5*time.Second, time.Since(start))
		require.EqualValues(t, 9, state(t, r, c).ExitCode)
		require.ErrorContains(t, r.Exit(c, 1), "not running")

		_, c = run(t, r, "other", "server")
		require.NoError(t, r.Exit(c, 7))
		require.EqualValues(t, 7, state(t, r, c).ExitCode)
		_, c = run(t, r, "third", "server")
		require.Equal(t, 1, r.ExitPod("ns/third", "c", 8))
		require.Zero(t, r.ExitPod("ns/third", "", 8))
		require.EqualValues(t, 8, state(t, r, c).ExitCode)

		// Six addresses in all, and those that are given back are used again.
		for _, name := range []string{"4", "5", "6"} {
			run(t, r, name)
		}
		_, err := r.RunPodSandbox(t.Context(), &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: "7"}}, "")
		require.Equal(t, codes.ResourceExhausted, status.Code(err))
		require.NoError(t, r.RemovePodSandbox(t.Context(), pod))
		run(t, r, "8")
		require.Equal(t, "10.1.0.1", asked.Address.String())
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runtimetest.New(runtimetest.Config{})
		defer r.Close(context.Background())
		config := &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: "p"}}
		fault := runtimetest.Fault{}
		r.SetFault(func(c runtimetest.Call) runtimetest.Fault {
			if c.Method == "RunPodSandbox" {
				return fault
			}
			return runtimetest.Fault{}
		})
		pods := func() int {
			list, err := r.ListPodSandbox(t.Context(), nil)
			require.NoError(t, err)
			return len(list)
		}
		broken := errors.New("broken")

		fault = runtimetest.Fault{Err: broken}
		_, err := r.RunPodSandbox(t.Context(), config, "")
		require.ErrorIs(t, err, broken)
		require.Zero(t, pods())

		fault = runtimetest.Fault{Hang: true}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		_, err = r.RunPodSandbox(ctx, config, "")
		require.Equal(t, codes.DeadlineExceeded, status.Code(err))
		require.Equal(t, time.Hour, time.Since(start))
		require.Zero(t, pods())

		fault = runtimetest.Fault{Delay: time.Minute}
		start = time.Now()
		config.Metadata.Uid = "delayed"
		_, err = r.RunPodSandbox(t.Context(), config, "")
		require.NoError(t, err)
		require.Equal(t, time.Minute, time.Since(start))

		fault = runtimetest.Fault{Lie: broken}
		config.Metadata.Uid = "lied"
		_, err = r.RunPodSandbox(t.Context(), config, "")
		require.ErrorIs(t, err, broken)
		require.Equal(t, 2, pods(), "done all the same")
		require.Equal(t, 4, r.Faulted())
	})
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runtimetest.New(runtimetest.Config{})
		defer r.Close(context.Background())
		_, c := run(t, r, "web")
		for _, forget := range []bool{false, true} {
			ended := make(chan error)
			go func() { ended <- r.GetContainerEvents(t.Context(), make(chan *runtimeapi.ContainerEventResponse), nil) }()
			synctest.Wait()
			r.Restart(forget)
			require.Equal(t, codes.Unavailable, status.Code(<-ended))
			_, err := r.ContainerStatus(t.Context(), c, false)
			if forget {
				require.Equal(t, codes.NotFound, status.Code(err))
			} else {
				require.NoError(t, err)
			}
		}
		run(t, r, "web") // its name and address are free again
	})
}

func TestScript(t *testing.T) {
	for script, want := range map[string]runtimetest.Behavior{
		"exit 3":                         {Exits: true, Code: 3, TermCode: 143},
		"sleep 1; sleep 0.5 && false":    {Exits: true, After: 1500 * time.Millisecond, Code: 1, TermCode: 143},
		"exit 2; exit 3":                 {Exits: true, Code: 2, TermCode: 143},
		"trap '' TERM; sleep 5":          {Exits: true, After: 5 * time.Second, IgnoreTerm: true, TermCode: 143},
		"trap 'exit 4' TERM; server":     {TermCode: 4},
		"echo a b; echo 'c' >&2; server": {Stdout: "a b\n", Stderr: "c\n", TermCode: 143},
		"sleep infinity":                 {TermCode: 143},
		"exit nonsense":                  {TermCode: 143},
		"while true; do sleep 1; done":   {TermCode: 143},
	} {
		require.Equal(t, want, runtimetest.Script(runtimetest.Process{Command: []string{"/bin/sh", "-c", script}}), script)
	}
	require.Equal(t, runtimetest.Behavior{}, runtimetest.Script(runtimetest.Process{}))
	require.Equal(t, runtimetest.Behavior{}, runtimetest.Script(runtimetest.Process{Command: []string{"nginx"}}))
	require.Equal(t, runtimetest.Behavior{Exits: true, After: time.Minute, TermCode: 143},
		runtimetest.Script(runtimetest.Process{Command: []string{"sleep", "60"}}))
	require.NotEmpty(t, runtimetest.Script(runtimetest.Process{Command: []string{runtimetest.NoSuchCommand}}).StartError)
}

func ExampleRuntime() {
	ctx := context.Background()
	rt := runtimetest.New(runtimetest.Config{})
	defer rt.Close(ctx)
	pod, _ := rt.RunPodSandbox(ctx, &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "web", Namespace: "default"}}, "")
	container, _ := rt.CreateContainer(ctx, pod, &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "server"}}, nil)
	rt.StartContainer(ctx, container)
	rt.ExitPod("default/web", "server", 1) // it crashes
	answer, _ := rt.ContainerStatus(ctx, container, false)
	fmt.Println(answer.Status.State, answer.Status.ExitCode, answer.Status.Reason)
	// Output: CONTAINER_EXITED 1 Error
}
