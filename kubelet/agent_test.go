package kubelet_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller/controllertest"
	"github.com/keelson-dev/keelson/kubelet"
	"github.com/keelson-dev/keelson/runtime/runtimetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is an agent in a test, on a control plane in memory and a fake runtime.
type node struct {
	t    *testing.T
	cp   *controllertest.ControlPlane
	rt   *runtimetest.Runtime
	api  client.Client
	root string
	k    *kubelet.Kubelet
	stop func() // ends the agent; containers go on
}

func newNode(t *testing.T, rt *runtimetest.Runtime) *node {
	cp := controllertest.New(t)
	cp.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: kube-node-lease}")
	n := &node{t: t, cp: cp, rt: rt, api: cp.Faults.Wrap(cp.Client), root: t.TempDir()}
	n.start()
	return n
}

func (n *node) start() {
	k, err := kubelet.New(n.api, n.rt, kubelet.Config{
		NodeName: "n1", Root: n.root, Logger: zaptest.NewLogger(n.t), Address: "10.0.0.1",
		Capacity: corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi")},
	})
	require.NoError(n.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	stopped := false
	n.k = k
	n.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(n.t, <-done)
		}
	}
	n.t.Cleanup(n.stop)
}

// run creates a pod on the node.
func (n *node) run(manifest string) *corev1.Pod {
	objects := n.cp.Apply(manifest)
	return objects[len(objects)-1].(*corev1.Pod)
}

func (n *node) wait(name string, cond func(*corev1.Pod) bool) *corev1.Pod {
	return controllertest.WaitFor(n.cp, kind.Pod, "default", name, cond)
}

// processes are the ids of running containers by name.
func (n *node) processes(pod string) map[string]string {
	list, err := n.rt.ListContainers(context.Background(), &runtimeapi.ContainerFilter{
		State:         &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
		LabelSelector: map[string]string{"io.kubernetes.pod.name": pod},
	})
	require.NoError(n.t, err)
	out := map[string]string{}
	for _, c := range list {
		require.Empty(n.t, out[c.Metadata.Name], "two live containers of one name")
		out[c.Metadata.Name] = c.Id
	}
	return out
}

func ready(p *corev1.Pod) bool { return condition(p, corev1.PodReady) }

func condition(p *corev1.Pod, kind corev1.PodConditionType) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func podOf(name, spec string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec:\n  nodeName: n1\n%s", name, indent(spec))
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n  ") + "\n"
}

const serving = `containers: [{name: main, image: app, command: [serve]}]`

func TestPodRunsAndIsDeletedWithinItsGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, runtimetest.New(runtimetest.Config{Behave: func(runtimetest.Process) runtimetest.Behavior {
			return runtimetest.Behavior{IgnoreTerm: true}
		}}))
		n.run(podOf("web", "terminationGracePeriodSeconds: 7\n"+serving))
		p := n.wait("web", ready)
		require.Equal(t, corev1.PodRunning, p.Status.Phase)
		require.Equal(t, "10.0.0.1", p.Status.HostIP)
		require.NotEmpty(t, p.Status.PodIP)
		st := p.Status.ContainerStatuses[0]
		require.True(t, st.Ready && *st.Started && st.State.Running != nil)
		require.Contains(t, st.ContainerID, "://")
		for _, c := range []corev1.PodConditionType{corev1.PodInitialized, corev1.ContainersReady, corev1.PodReadyToStartContainers} {
			require.True(t, condition(p, c), c)
		}
		nodeObject := controllertest.WaitFor(n.cp, kind.Node, "", "n1", func(n *corev1.Node) bool { return len(n.Status.Conditions) > 0 })
		require.Equal(t, "n1", nodeObject.Labels["kubernetes.io/hostname"])
		require.Equal(t, "4", nodeObject.Status.Capacity.Cpu().String())
		controllertest.WaitFor(n.cp, kind.Lease, "kube-node-lease", "n1", func(l *coordinationv1.Lease) bool { return *l.Spec.HolderIdentity == "n1" })

		began := time.Now()
		controllertest.Delete(n.cp, kind.Pod, "default", "web")
		controllertest.WaitGone(n.cp, kind.Pod, "default", "web")
		took := time.Since(began)
		require.GreaterOrEqual(t, took, 7*time.Second, "the process ignores SIGTERM, so it has its grace")
		require.LessOrEqual(t, took, 9*time.Second)
		synctest.Wait()
		require.Empty(t, n.processes("web"))
		for _, dir := range []string{"pods", "logs"} {
			entries, err := os.ReadDir(filepath.Join(n.root, dir))
			if err == nil {
				require.Empty(t, entries, dir)
			}
		}
	})
}

func TestCrashLoopBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, runtimetest.New(runtimetest.Config{}))
		n.run(podOf("crash", `containers: [{name: main, image: app, command: [sh, -c, "sleep 1; exit 3"]}]`))
		p := n.wait("crash", func(p *corev1.Pod) bool {
			return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
				p.Status.ContainerStatuses[0].State.Waiting.Reason == "CrashLoopBackOff"
		})
		st := p.Status.ContainerStatuses[0]
		require.Equal(t, int32(1), st.RestartCount, "the first restart is at once")
		require.Equal(t, int32(3), st.LastTerminationState.Terminated.ExitCode)
		require.Equal(t, "Error", st.LastTerminationState.Terminated.Reason)
		require.Contains(t, st.State.Waiting.Message, "back-off 10s")
		last := st.LastTerminationState.Terminated.FinishedAt.Time
		var gaps []int
		for count := int32(2); count <= 8; count++ {
			delay, err := time.ParseDuration(strings.Fields(p.Status.ContainerStatuses[0].State.Waiting.Message)[1])
			require.NoError(t, err)
			<-time.After(delay - time.Second)
			p = n.wait("crash", func(p *corev1.Pod) bool {
				st := p.Status.ContainerStatuses[0]
				return st.RestartCount == count && st.State.Waiting != nil
			})
			ended := p.Status.ContainerStatuses[0].LastTerminationState.Terminated.FinishedAt.Time
			gaps = append(gaps, int(ended.Sub(last).Seconds()))
			last = ended
		}
		require.Equal(t, []int{11, 21, 41, 81, 161, 301, 301}, gaps)
	})
}

func TestInitContainersSidecarAndCompletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, runtimetest.New(runtimetest.Config{}))
		n.run(podOf("job", `
restartPolicy: Never
initContainers:
- {name: first, image: app, command: [sh, -c, "sleep 5"]}
- {name: side, image: app, command: [serve], restartPolicy: Always}
containers: [{name: main, image: app, command: [sh, -c, "sleep 5; exit 0"]}]`))
		p := n.wait("job", func(p *corev1.Pod) bool {
			return len(p.Status.InitContainerStatuses) > 0 && p.Status.InitContainerStatuses[0].State.Running != nil
		})
		require.Equal(t, corev1.PodPending, p.Status.Phase)
		require.Equal(t, "PodInitializing", p.Status.ContainerStatuses[0].State.Waiting.Reason)
		require.NotContains(t, n.processes("job"), "side")
		n.wait("job", ready)
		require.Len(t, n.processes("job"), 2)
		p = n.wait("job", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
		require.Equal(t, "Completed", p.Status.ContainerStatuses[0].State.Terminated.Reason)
		n.wait("job", func(p *corev1.Pod) bool { return p.Status.InitContainerStatuses[1].State.Terminated != nil })
		require.Empty(t, n.processes("job"), "the sidecar ends with the pod")
	})
}

func TestLivenessRestartsAndReadinessGates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sick, isReady atomic.Bool
		n := newNode(t, runtimetest.New(runtimetest.Config{Exec: func(_ context.Context, p runtimetest.Process) ([]byte, []byte, error) {
			switch {
			case p.Command[0] == "live" && (!sick.Load() || p.Attempt > 0), p.Command[0] == "ready" && isReady.Load():
				return nil, nil, nil
			}
			return []byte("bad"), nil, fmt.Errorf("exit 1")
		}}))
		n.run(podOf("web", `
containers:
- name: main
  image: app
  command: [serve]
  livenessProbe: {exec: {command: [live]}, periodSeconds: 5, failureThreshold: 2}
  readinessProbe: {exec: {command: [ready]}, periodSeconds: 3}`))
		p := n.wait("web", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
		require.False(t, ready(p))
		<-time.After(time.Minute)
		isReady.Store(true)
		n.wait("web", ready)
		first := n.processes("web")["main"]
		sick.Store(true)
		p = n.wait("web", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 && ready(p) })
		require.NotEqual(t, first, n.processes("web")["main"])
		require.NotNil(t, p.Status.ContainerStatuses[0].LastTerminationState.Terminated)
		<-time.After(2 * time.Second)
		reasons := map[string]bool{}
		for _, e := range controllertest.List(n.cp, kind.Event, "default") {
			reasons[e.Reason] = true
		}
		for _, want := range []string{"Created", "Started", "Unhealthy", "Killing"} {
			require.True(t, reasons[want], "event %s among %v", want, reasons)
		}
	})
}

func TestANewAgentAdopts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, runtimetest.New(runtimetest.Config{}))
		n.run(podOf("stays", serving))
		n.run(podOf("goes", serving))
		n.wait("stays", ready)
		n.wait("goes", ready)
		before := n.processes("stays")
		n.stop()
		require.Len(t, n.processes("goes"), 1, "containers outlive their agent")
		controllertest.Delete(n.cp, kind.Pod, "default", "goes", client.GracePeriod(0))
		n.start()
		<-time.After(5 * time.Minute)
		require.Equal(t, before, n.processes("stays"))
		require.Equal(t, int32(0), n.wait("stays", ready).Status.ContainerStatuses[0].RestartCount)
		require.Empty(t, n.processes("goes"), "the API has forgotten this pod")
	})
}

// TestAForcedDeletionGetsASmallGrace deletes the object of a pod that would use all of its 30 seconds.
func TestAForcedDeletionGetsASmallGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, runtimetest.New(runtimetest.Config{Behave: func(runtimetest.Process) runtimetest.Behavior {
			return runtimetest.Behavior{IgnoreTerm: true}
		}}))
		n.run(podOf("forced", serving))
		n.wait("forced", ready)
		controllertest.Delete(n.cp, kind.Pod, "default", "forced", client.GracePeriod(0))
		<-time.After(time.Second)
		require.Len(t, n.processes("forced"), 1)
		<-time.After(3 * time.Second)
		require.Empty(t, n.processes("forced"))
	})
}

func TestAHangingPodHoldsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, runtimetest.New(runtimetest.Config{}))
		n.run(podOf("stuck", serving))
		n.wait("stuck", ready)
		id := n.processes("stuck")["main"]
		n.rt.SetFault(func(c runtimetest.Call) runtimetest.Fault { return runtimetest.Fault{Hang: c.Container == id} })
		controllertest.Delete(n.cp, kind.Pod, "default", "stuck")
		synctest.Wait()
		require.Positive(t, n.rt.Faulted(), "the call hangs before the other pod comes")
		began := time.Now()
		n.run(podOf("free", serving))
		n.wait("free", ready)
		require.Less(t, time.Since(began), time.Second)
		n.rt.SetFault(nil)
		controllertest.WaitGone(n.cp, kind.Pod, "default", "stuck")
	})
}

func TestConfigMapsAsFilesAndEnvironment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := make(chan map[string]string, 8)
		n := newNode(t, runtimetest.New(runtimetest.Config{Behave: func(p runtimetest.Process) runtimetest.Behavior {
			seen <- p.Env
			return runtimetest.Behavior{}
		}}))
		pod := n.run(podOf("web", `
volumes: [{name: conf, configMap: {name: settings}}]
containers:
- name: main
  image: app
  command: [serve]
  env:
  - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  - {name: URL, value: "http://$(POD_IP):80"}
  - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}
  volumeMounts: [{name: conf, mountPath: /conf}]`))
		<-time.After(time.Minute)
		require.Empty(t, n.processes("web"))
		n.cp.Apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {color: red}")
		began := time.Now()
		p := n.wait("web", ready)
		require.Less(t, time.Since(began), 5*time.Second, "the ConfigMap's appearance is noticed")
		env := <-seen
		require.Equal(t, "red", env["COLOR"])
		require.Equal(t, "http://"+p.Status.PodIP+":80", env["URL"])
		file := filepath.Join(n.root, "pods", string(pod.UID), "volumes", "conf", "color")
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, "red", string(data))
		controllertest.Mutate(n.cp, kind.ConfigMap, "default", "settings", func(c *corev1.ConfigMap) { c.Data["color"] = "blue" })
		<-time.After(5 * time.Second)
		data, err = os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, "blue", string(data))
	})
}

func TestStopPodsLeavesObjectsAndStartsAgain(t *testing.T) {
	for name, whileRunning := range map[string]bool{"while the agent runs": true, "after it": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, runtimetest.New(runtimetest.Config{}))
				n.run(podOf("web", serving))
				n.wait("web", ready)
				if !whileRunning {
					n.stop()
				}
				require.NoError(t, n.k.StopPods(t.Context()))
				require.Empty(t, n.processes("web"))
				n.stop()
				n.start()
				p := n.wait("web", func(p *corev1.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
				require.Equal(t, corev1.PodRunning, p.Status.Phase)
			})
		})
	}
}

func TestAPodThatDoesNotFitIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, runtimetest.New(runtimetest.Config{}))
		n.run(podOf("huge", `containers: [{name: main, image: app, command: [serve], resources: {requests: {cpu: 5}}}]`))
		p := n.wait("huge", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
		require.Equal(t, "OutOfcpu", p.Status.Reason)
		require.Empty(t, n.processes("huge"))
	})
}

func TestAnHourWithoutTheAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, runtimetest.New(runtimetest.Config{}))
		n.run(podOf("web", serving))
		n.run(podOf("old", "terminationGracePeriodSeconds: 1\n"+serving))
		n.wait("web", ready)
		n.wait("old", ready)
		first := n.processes("web")["main"]
		outage := n.cp.Faults.Inject(controllertest.Fault{Err: errors.New("no route to host")})
		n.cp.Faults.EndWatches(errors.New("connection reset"))
		synctest.Wait()
		controllertest.Delete(n.cp, kind.Pod, "default", "old")
		<-time.After(30 * time.Minute)
		require.Equal(t, first, n.processes("web")["main"])
		require.Len(t, n.processes("old"), 1, "what the agent has not heard of does not happen")
		require.NoError(t, n.rt.Exit(first, 1))
		<-time.After(30 * time.Minute)
		require.Len(t, n.processes("web"), 1, "containers are restarted without the API")
		require.NotEqual(t, first, n.processes("web")["main"])
		outage.Stop()
		n.wait("web", func(p *corev1.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
		controllertest.WaitGone(n.cp, kind.Pod, "default", "old")
	})
}

func TestAStatusThatSomebodyOverwroteIsCorrected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, runtimetest.New(runtimetest.Config{}))
		n.run(podOf("web", serving))
		n.wait("web", ready)
		controllertest.MutateStatus(n.cp, kind.Pod, "default", "web", func(p *corev1.Pod) {
			for i := range p.Status.Conditions {
				p.Status.Conditions[i].Status = corev1.ConditionFalse
			}
		})
		n.wait("web", ready)
	})
}

// TestANodeThatWasDeclaredLostSaysThatItIsBack is what follows a partition: the control plane has set the conditions to
// Unknown, and the agent, which never stopped, takes that back with its next heartbeat.
func TestANodeThatWasDeclaredLostSaysThatItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, runtimetest.New(runtimetest.Config{}))
		isReady := func(node *corev1.Node) bool {
			return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
				return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
			})
		}
		controllertest.WaitFor(n.cp, kind.Node, "", "n1", isReady)
		<-time.After(time.Minute)
		lost := time.Now()
		controllertest.MutateStatus(n.cp, kind.Node, "", "n1", func(node *corev1.Node) {
			for i := range node.Status.Conditions {
				node.Status.Conditions[i].Status = corev1.ConditionUnknown
			}
		})
		controllertest.WaitFor(n.cp, kind.Node, "", "n1", isReady)
		require.LessOrEqual(t, time.Since(lost), 10*time.Second)
	})
}

// TestFaultyRuntime has every kind of call fail, hang or lie now and then; all pods get there all the same, no name is
// ever run twice, and nothing is left in the end.
func TestFaultyRuntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, runtimetest.New(runtimetest.Config{}))
		calls := 0
		var mu sync.Mutex
		n.rt.SetFault(func(c runtimetest.Call) runtimetest.Fault {
			mu.Lock()
			defer mu.Unlock()
			calls++
			switch calls % 11 {
			case 3:
				return runtimetest.Fault{Err: errors.New("injected")}
			case 6:
				return runtimetest.Fault{Lie: errors.New("injected, and done")}
			case 9:
				return runtimetest.Fault{Delay: 3 * time.Second}
			}
			return runtimetest.Fault{}
		})
		names := []string{"a", "b", "c", "d"}
		for _, name := range names {
			n.run(podOf(name, "terminationGracePeriodSeconds: 1\n"+serving))
		}
		<-time.After(10 * time.Minute)
		n.stop()
		n.start()
		<-time.After(10 * time.Minute)
		require.Greater(t, n.rt.Faulted(), 20)
		n.rt.SetFault(nil)
		for _, name := range names {
			n.wait(name, ready)
			require.Len(t, n.processes(name), 1)
			controllertest.Delete(n.cp, kind.Pod, "default", name)
		}
		for _, name := range names {
			controllertest.WaitGone(n.cp, kind.Pod, "default", name)
		}
		<-time.After(5 * time.Minute)
		left, err := n.rt.ListPodSandbox(context.Background(), nil)
		require.NoError(t, err)
		require.Empty(t, left)
	})
}
