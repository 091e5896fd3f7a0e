package kubelet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func statusFor(pod *corev1.Pod, o *observed, change func(*desired)) corev1.PodStatus {
	d := &desired{pod: pod}
	if change != nil {
		change(d)
	}
	in := statusInput{desired: d, observed: o, previous: &pod.Status, hostIPs: []string{"10.0.0.1"}, prefix: "fake://", machine: testMachine()}
	return in.status(epoch)
}

// states is a status in short: phase, ready, and each container's state.
func states(st corev1.PodStatus) string {
	out := string(st.Phase)
	if conditionTrue(&st, corev1.PodReady) {
		out += " ready"
	}
	for _, c := range st.ContainerStatuses {
		out += " " + c.Name + "="
		switch {
		case c.State.Running != nil:
			out += "running"
		case c.State.Terminated != nil:
			out += c.State.Terminated.Reason
		default:
			out += c.State.Waiting.Reason
		}
		if c.LastTerminationState.Terminated != nil {
			out += "<" + c.LastTerminationState.Terminated.Reason
		}
	}
	return out
}

func TestStatus(t *testing.T) {
	plain := func(p *corev1.Pod) { p.Spec.InitContainers = nil }
	before := func(state corev1.ContainerState) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.InitContainers = nil
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "a", ContainerID: "fake://old", RestartCount: 2, State: state}}
		}
	}
	wasRunning := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	for name, tc := range map[string]struct {
		pod     func(*corev1.Pod)
		desired func(*desired)
		observe func(*observed)
		want    string
	}{
		"new":          {want: "Pending a=PodInitializing b=PodInitializing"},
		"new, no init": {pod: plain, want: "Pending a=ContainerCreating b=ContainerCreating"},
		"one runs": {pod: plain, observe: func(o *observed) { o.containers = []container{running("a", 0)} },
			want: "Pending a=running b=ContainerCreating"},
		"both run": {pod: plain, observe: func(o *observed) { o.containers = []container{running("a", 0), running("b", 0)} },
			want: "Running ready a=running b=running"},
		"not ready": {pod: plain, observe: func(o *observed) {
			o.containers = []container{running("a", 0), running("b", 0)}
			o.health["a-0"] = health{started: true}
		}, want: "Running a=running b=running"},
		"closed gate": {pod: func(p *corev1.Pod) {
			plain(p)
			p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "x/y"}}
		}, observe: func(o *observed) { o.containers = []container{running("a", 0), running("b", 0)} }, want: "Running a=running b=running"},
		"pull failed": {pod: plain, observe: func(o *observed) { o.retries["a"] = retry{reason: reasonPull, message: "m"} },
			want: "Pending a=ErrImagePull b=ContainerCreating"},
		"crash loop": {pod: plain, observe: func(o *observed) {
			o.containers = []container{ended("a", 1, 1), running("b", 0)}
			o.crashes["a"] = crash{10 * time.Second}
		}, want: "Running a=CrashLoopBackOff<Error b=running"},
		"restarted": {pod: plain, observe: func(o *observed) { o.containers = []container{ended("a", 0, 1), running("a", 1), running("b", 0)} },
			want: "Running ready a=running<Error b=running"},
		"succeeded": {pod: func(p *corev1.Pod) { plain(p); p.Spec.RestartPolicy = corev1.RestartPolicyNever },
			observe: func(o *observed) { o.containers = []container{ended("a", 0, 0), ended("b", 0, 0)} }, want: "Succeeded a=Completed b=Completed"},
		"failed": {pod: func(p *corev1.Pod) { plain(p); p.Spec.RestartPolicy = corev1.RestartPolicyNever },
			observe: func(o *observed) { o.containers = []container{ended("a", 0, 0), ended("b", 0, 2)} }, want: "Failed a=Completed b=Error"},
		"refused":                  {pod: plain, desired: func(d *desired) { d.failed = &failure{reason: "OutOfcpu"} }, want: "Failed a=ContainerCreating b=ContainerCreating"},
		"forgotten by the runtime": {pod: before(wasRunning), want: "Pending a=ContainerCreating<ContainerStatusUnknown b=ContainerCreating"},
		"forgotten, deleted": {pod: func(p *corev1.Pod) { before(wasRunning)(p); p.DeletionTimestamp = &metav1.Time{Time: epoch} },
			want: "Failed a=ContainerStatusUnknown b=ContainerCreating"},
		"halted": {pod: plain, desired: func(d *desired) { d.halt = true },
			observe: func(o *observed) { o.containers = []container{running("a", 0), running("b", 0)} }, want: "Running a=running b=running"},
	} {
		t.Run(name, func(t *testing.T) {
			o := emptyObserved()
			o.sandboxes = oneSandbox
			if tc.observe != nil {
				tc.observe(o)
			} else {
				o.sandboxes = nil
			}
			require.Equal(t, tc.want, states(statusFor(testPod(tc.pod), o, tc.desired)))
		})
	}
}

func TestStatusIsStable(t *testing.T) {
	pod := testPod(nil)
	o := emptyObserved()
	o.sandboxes = []sandbox{{id: "s0", ready: true, ips: []string{"10.88.0.2"}}}
	o.containers = []container{ended("init", 0, 0), running("side", 0), running("a", 0), running("b", 0)}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	first := statusFor(pod, o, nil)
	require.Equal(t, "Running ready a=running b=running", states(first))
	require.True(t, conditionTrue(&first, corev1.PodScheduled), "another's condition is kept")
	in := statusInput{desired: &desired{pod: pod}, observed: o, previous: &first, hostIPs: []string{"10.0.0.1"}, prefix: "fake://", machine: testMachine()}
	require.Equal(t, first, in.status(epoch.Add(time.Hour)), "nothing changed, so nothing is written")

	o.health["a-0"] = health{started: true}
	later := in.status(epoch.Add(time.Hour))
	for _, c := range later.Conditions {
		want := epoch
		if c.Type == corev1.PodReady || c.Type == corev1.ContainersReady {
			want = epoch.Add(time.Hour)
		}
		if c.Type != corev1.PodScheduled {
			require.True(t, c.LastTransitionTime.Time.Equal(want), c.Type)
		}
	}
}

func TestMergeStatusKeepsWhatOthersOwn(t *testing.T) {
	at := metav1.NewTime(epoch)
	into := corev1.PodStatus{
		QOSClass: corev1.PodQOSBurstable, NominatedNodeName: "n2", StartTime: &at,
		Conditions: []corev1.PodCondition{{Type: "other/one", Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: at}},
	}
	from := corev1.PodStatus{
		Phase:      corev1.PodRunning,
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(epoch.Add(time.Hour))}},
	}
	mergeStatus(&into, &from)
	require.Equal(t, corev1.PodQOSBurstable, into.QOSClass)
	require.Equal(t, "n2", into.NominatedNodeName)
	require.Equal(t, &at, into.StartTime)
	require.Len(t, into.Conditions, 2)
	require.True(t, into.Conditions[1].LastTransitionTime.Equal(&at))
}
