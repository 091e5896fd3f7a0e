package kubelet_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller/controllertest"
	"github.com/keelson-dev/keelson/runtime/runtimetest"
)

func TestHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var ran []string
		n := newNode(t, runtimetest.New(runtimetest.Config{Exec: func(_ context.Context, p runtimetest.Process) ([]byte, []byte, error) {
			mu.Lock()
			ran = append(ran, p.Command[0])
			mu.Unlock()
			switch {
			case p.Command[0] == "bye":
				<-time.After(3 * time.Second)
			case p.Attempt == 0:
				return nil, nil, errors.New("not yet")
			}
			return nil, nil, nil
		}}))
		n.run(podOf("web", `
terminationGracePeriodSeconds: 10
containers:
- name: main
  image: app
  command: [serve]
  lifecycle: {postStart: {exec: {command: [hello]}}, preStop: {exec: {command: [bye]}}}`))
		p := n.wait("web", ready)
		require.Equal(t, int32(1), p.Status.ContainerStatuses[0].RestartCount, "a failed postStart hook ends the container")
		began := time.Now()
		controllertest.Delete(n.cp, kind.Pod, "default", "web")
		controllertest.WaitGone(n.cp, kind.Pod, "default", "web")
		require.Equal(t, 3*time.Second, time.Since(began).Round(time.Second), "SIGTERM follows the preStop hook")
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, []string{"hello", "hello", "bye"}, ran)
	})
}

func TestActiveDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, runtimetest.New(runtimetest.Config{}))
		n.run(podOf("job", "activeDeadlineSeconds: 45\nrestartPolicy: Never\n"+serving))
		began := time.Now()
		p := n.wait("job", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
		require.Equal(t, "DeadlineExceeded", p.Status.Reason)
		require.Equal(t, 45*time.Second, time.Since(began).Round(time.Second))
		n.wait("job", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].State.Terminated != nil })
		require.Empty(t, n.processes("job"))
	})
}

func TestAShorterGraceIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, runtimetest.New(runtimetest.Config{Behave: func(runtimetest.Process) runtimetest.Behavior {
			return runtimetest.Behavior{IgnoreTerm: true}
		}}))
		n.run(podOf("web", "terminationGracePeriodSeconds: 3600\n"+serving))
		n.wait("web", ready)
		controllertest.Delete(n.cp, kind.Pod, "default", "web")
		<-time.After(5 * time.Second)
		require.Len(t, n.processes("web"), 1)
		began := time.Now()
		controllertest.Delete(n.cp, kind.Pod, "default", "web", client.GracePeriod(2))
		controllertest.WaitGone(n.cp, kind.Pod, "default", "web")
		require.LessOrEqual(t, time.Since(began), 4*time.Second)
	})
}
