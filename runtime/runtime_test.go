package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMatchSandbox(t *testing.T) {
	ready := &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY}
	gone := &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_NOTREADY}
	sandbox := &runtimeapi.PodSandbox{Id: "abc", Labels: map[string]string{"a": "1", "b": "2"}}
	for _, test := range []struct {
		filter *runtimeapi.PodSandboxFilter
		want   bool
	}{
		{nil, true},
		{&runtimeapi.PodSandboxFilter{}, true},
		{&runtimeapi.PodSandboxFilter{Id: "abc"}, true},
		{&runtimeapi.PodSandboxFilter{Id: "ab"}, true},
		{&runtimeapi.PodSandboxFilter{Id: "abcd"}, false},
		{&runtimeapi.PodSandboxFilter{State: ready}, true},
		{&runtimeapi.PodSandboxFilter{State: gone}, false},
		{&runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"a": "1", "b": "2"}}, true},
		{&runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"a": "1", "c": ""}}, false},
		{&runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"a": "2"}}, false},
	} {
		require.Equal(t, test.want, kruntime.MatchSandbox(test.filter, sandbox), "%v", test.filter)
	}
}

func TestMatchContainer(t *testing.T) {
	container := &runtimeapi.Container{Id: "abc", PodSandboxId: "xyz", State: runtimeapi.ContainerState_CONTAINER_RUNNING,
		Labels: map[string]string{"a": "1"}}
	for _, test := range []struct {
		filter *runtimeapi.ContainerFilter
		want   bool
	}{
		{nil, true},
		{&runtimeapi.ContainerFilter{Id: "abc", PodSandboxId: "xyz"}, true},
		{&runtimeapi.ContainerFilter{PodSandboxId: "abc"}, false},
		{&runtimeapi.ContainerFilter{Id: "b"}, false},
		{&runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING}}, true},
		{&runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{}}, false},
		{&runtimeapi.ContainerFilter{LabelSelector: map[string]string{"a": "1"}}, true},
		{&runtimeapi.ContainerFilter{LabelSelector: map[string]string{"a": ""}}, false},
	} {
		require.Equal(t, test.want, kruntime.MatchContainer(test.filter, container), "%v", test.filter)
	}
}

func event(id int) *runtimeapi.ContainerEventResponse {
	return &runtimeapi.ContainerEventResponse{ContainerId: fmt.Sprint(id)}
}

func TestFeedOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var feed kruntime.Feed
		feed.Publish(event(0)) // nobody listens
		require.False(t, feed.Watched())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		var readers [3]chan *runtimeapi.ContainerEventResponse
		for i := range readers {
			readers[i] = make(chan *runtimeapi.ContainerEventResponse)
			go func() { ended <- feed.Stream(ctx, readers[i], nil) }()
		}
		synctest.Wait()
		require.True(t, feed.Watched())
		for i := range 500 {
			feed.Publish(event(i))
		}
		for _, reader := range readers {
			for i := range 500 {
				require.Equal(t, fmt.Sprint(i), (<-reader).ContainerId)
			}
		}
		cancel()
		for range readers {
			require.NoError(t, <-ended)
		}
		require.False(t, feed.Watched())
	})
}

// A reader that does not read is ended; nobody else notices it, and the publisher never waits.
func TestFeedSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var feed kruntime.Feed
		slow, fast := make(chan *runtimeapi.ContainerEventResponse), make(chan *runtimeapi.ContainerEventResponse)
		slowEnded, fastEnded := make(chan error, 1), make(chan error, 1)
		go func() { slowEnded <- feed.Stream(t.Context(), slow, nil) }()
		go func() { fastEnded <- feed.Stream(t.Context(), fast, nil) }()
		synctest.Wait()
		for i := range 3000 {
			feed.Publish(event(i))
			require.Equal(t, fmt.Sprint(i), (<-fast).ContainerId)
		}
		require.Equal(t, codes.ResourceExhausted, status.Code(<-slowEnded))
		feed.Close()
		require.Equal(t, codes.Unavailable, status.Code(<-fastEnded))
		require.Equal(t, codes.Unavailable, status.Code(feed.Stream(t.Context(), fast, nil)))
	})
}

func ExampleExitError() {
	err := fmt.Errorf("probe: %w", &kruntime.ExitError{Code: 3})
	var exit *kruntime.ExitError
	if errors.As(err, &exit) {
		fmt.Println(exit.ExitStatus(), err)
	}
	// Output: 3 probe: command terminated with exit code 3
}

func ExampleFeed() {
	var feed kruntime.Feed
	ctx, cancel := context.WithCancel(context.Background())
	events, ready, ended := make(chan *runtimeapi.ContainerEventResponse), make(chan struct{}), make(chan error)
	go func() { ended <- feed.Stream(ctx, events, func() { close(ready) }) }()
	<-ready
	feed.Publish(&runtimeapi.ContainerEventResponse{ContainerId: "web", ContainerEventType: runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT})
	e := <-events
	fmt.Println(e.ContainerId, e.ContainerEventType)
	cancel()
	fmt.Println(<-ended)
	// Output:
	// web CONTAINER_STOPPED_EVENT
	// <nil>
}
