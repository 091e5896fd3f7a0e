package kubelet

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func testMachine() *machine {
	return &machine{base: 10 * time.Second, limit: 5 * time.Minute, reset: 10 * time.Minute, hash: hashOf}
}

// testPod has one init container, one sidecar and two containers, unless change says otherwise.
func testPod(change func(*corev1.Pod)) *corev1.Pod {
	always := corev1.ContainerRestartPolicyAlways
	seconds := int64(30)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", ResourceVersion: "1"},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: &seconds,
			InitContainers: []corev1.Container{{Name: "init"}, {Name: "side", RestartPolicy: &always}},
			Containers:     []corev1.Container{{Name: "a"}, {Name: "b"}},
		},
	}
	if change != nil {
		change(p)
	}
	return p
}

func emptyObserved() *observed {
	return &observed{health: map[string]health{}, crashes: map[string]crash{}, retries: map[string]retry{}}
}

var oneSandbox = []sandbox{{id: "s0", ready: true}}

func running(name string, attempt uint32) container {
	return container{id: fmt.Sprintf("%s-%d", name, attempt), sandbox: "s0", name: name, attempt: attempt, state: stateRunning, started: epoch}
}

func ended(name string, attempt uint32, code int32) container {
	c := running(name, attempt)
	c.state, c.exitCode, c.finished = stateExited, code, epoch
	return c
}

// brief is an action in a few words.
func brief(a action) string {
	name := map[verb]string{
		actWait: "wait", actVolumes: "volumes", actRunSandbox: "sandbox", actStart: "start", actStop: "stop", actStopSandbox: "stopSandbox",
		actRemove: "remove", actRemoveSandbox: "removeSandbox", actReport: "report", actClean: "clean", actDelete: "delete", actDone: "done",
	}[a.verb]
	switch a.verb {
	case actWait:
		if !a.until.IsZero() {
			name += " " + a.until.Sub(epoch).String()
		}
	case actStart:
		name += fmt.Sprintf(" %s/%d", a.container.Name, a.attempt)
	case actStop:
		for _, s := range a.stops {
			name += fmt.Sprintf(" %s(%v)", s.container.id, s.grace)
		}
	case actStopSandbox, actRemove, actRemoveSandbox:
		name += fmt.Sprint(" ", a.ids)
	case actRunSandbox:
		name += fmt.Sprintf(" %d", a.attempt)
	}
	return name
}

func TestNext(t *testing.T) {
	never := func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }
	onFailure := func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyOnFailure }
	deleted := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: epoch} }
	all := []container{ended("init", 0, 0), running("side", 0), running("a", 0), running("b", 0)}
	for name, tc := range map[string]struct {
		pod     func(*corev1.Pod)
		desired func(*desired)
		observe func(*observed)
		want    string
	}{
		"new":               {want: "volumes"},
		"volumes failed":    {observe: func(o *observed) { o.retries[stepVolumes] = retry{until: epoch.Add(time.Second)} }, want: "wait 1s"},
		"volumes are there": {observe: func(o *observed) { o.volumes = true }, want: "sandbox 0"},
		"sandbox":           {observe: func(o *observed) { o.sandboxes = oneSandbox }, want: "start init/0"},
		"init runs": {observe: func(o *observed) {
			o.sandboxes, o.containers = oneSandbox, []container{running("init", 0)}
		}, want: "wait"},
		"init failed": {observe: func(o *observed) {
			o.sandboxes, o.containers = oneSandbox, []container{ended("init", 0, 1)}
		}, want: "start init/1"},
		"init failed for good": {pod: never, observe: func(o *observed) {
			o.sandboxes, o.containers = oneSandbox, []container{ended("init", 0, 1)}
		}, want: "stopSandbox [s0]"},
		"init done": {observe: func(o *observed) {
			o.sandboxes, o.containers = oneSandbox, []container{ended("init", 0, 0)}
		}, want: "start side/0"},
		"sidecar not started yet": {observe: func(o *observed) {
			o.sandboxes, o.containers = oneSandbox, []container{ended("init", 0, 0), running("side", 0)}
			o.health["side-0"] = health{}
		}, want: "wait"},
		"sidecar started": {observe: func(o *observed) {
			o.sandboxes, o.containers = oneSandbox, []container{ended("init", 0, 0), running("side", 0)}
		}, want: "start a/0"},
		"all run":         {observe: func(o *observed) { o.sandboxes, o.containers = oneSandbox, all }, want: "wait"},
		"volumes changed": {observe: func(o *observed) { o.sandboxes, o.containers, o.stale = oneSandbox, all, true }, want: "volumes"},
		"created, then crash": {observe: func(o *observed) {
			c := running("b", 0)
			c.state = stateCreated
			o.sandboxes, o.containers = oneSandbox, append(slices.Clone(all[:3]), c)
		}, want: "remove [b-0]"},
		"first exit": {observe: func(o *observed) {
			o.sandboxes, o.containers = oneSandbox, append(slices.Clone(all[:3]), ended("b", 0, 0))
		}, want: "start b/1"},
		"second exit": {observe: func(o *observed) {
			o.sandboxes, o.containers = oneSandbox, append(slices.Clone(all[:3]), ended("b", 1, 0))
			o.crashes["b"] = crash{10 * time.Second}
		}, want: "wait 10s"},
		"exit after a long run": {observe: func(o *observed) {
			c := ended("b", 1, 0)
			c.started = epoch.Add(-time.Hour)
			o.sandboxes, o.containers = oneSandbox, append(slices.Clone(all[:3]), c)
			o.crashes["b"] = crash{5 * time.Minute}
		}, want: "start b/2"},
		"on failure, success": {pod: onFailure, observe: func(o *observed) {
			o.sandboxes, o.containers = oneSandbox, append(slices.Clone(all[:3]), ended("b", 0, 0))
		}, want: "wait"},
		"all ended": {pod: onFailure, observe: func(o *observed) {
			o.sandboxes, o.containers = oneSandbox, []container{all[0], all[1], ended("a", 0, 0), ended("b", 0, 0)}
		}, want: "stop side-0(30s)"},
		"liveness": {observe: func(o *observed) {
			five := int64(5)
			o.sandboxes, o.containers = oneSandbox, all
			o.health["a-0"] = health{failed: true, graceful: &five}
		}, want: "stop a-0(5s)"},
		"image changed": {observe: func(o *observed) {
			o.sandboxes, o.containers = oneSandbox, slices.Clone(all)
			o.containers[2].hash = "other"
		}, want: "stop a-0(30s)"},
		"sandbox died": {observe: func(o *observed) {
			o.sandboxes, o.containers, o.volumes = []sandbox{{id: "s0"}}, []container{ended("a", 0, 137)}, true
		}, want: "sandbox 1"},
		"processes of a dead sandbox": {observe: func(o *observed) {
			o.sandboxes, o.containers = []sandbox{{id: "s0"}}, all[3:]
		}, want: "stop b-0(30s)"},
		"two live of one name": {observe: func(o *observed) {
			o.sandboxes, o.containers = oneSandbox, append(slices.Clone(all), running("b", 1))
		}, want: "stop b-0(30s)"},
		"old instances": {observe: func(o *observed) {
			o.sandboxes = oneSandbox
			o.containers = []container{all[0], all[1], all[2], ended("b", 0, 1), ended("b", 1, 1), running("b", 2)}
		}, want: "remove [b-0]"},
		"old sandbox": {observe: func(o *observed) {
			o.sandboxes, o.containers = append([]sandbox{{id: "x"}}, oneSandbox...), all
		}, want: "removeSandbox [x]"},
		"two sandboxes, the newer died": {observe: func(o *observed) {
			o.sandboxes, o.volumes = []sandbox{{id: "x", ready: true}, {id: "y", attempt: 1}}, true
		}, want: "stopSandbox [x]"},
		"refused": {desired: func(d *desired) { d.failed = &failure{reason: "OutOfcpu"} }, want: "wait"},
		"deadline": {desired: func(d *desired) { d.failed = &failure{reason: "DeadlineExceeded"} }, observe: func(o *observed) {
			o.sandboxes, o.containers = oneSandbox, all
		}, want: "stop a-0(30s) b-0(30s)"},
		"deleted":               {pod: deleted, observe: func(o *observed) { o.sandboxes, o.containers = oneSandbox, all }, want: "stop a-0(20s) b-0(20s)"},
		"deleted, sidecar left": {pod: deleted, observe: func(o *observed) { o.sandboxes, o.containers = oneSandbox, all[:2] }, want: "stop side-0(20s)"},
		"deleted, sandbox left": {pod: deleted, observe: func(o *observed) { o.sandboxes = oneSandbox }, want: "stopSandbox [s0]"},
		"deleted, at rest":      {pod: deleted, want: "report"},
		"deleted, reported":     {pod: deleted, observe: func(o *observed) { o.reported = true }, want: "clean"},
		"deleted, clean":        {pod: deleted, observe: func(o *observed) { o.reported, o.cleaned = true, true }, want: "delete"},
		"deleted, cleaning fails": {pod: deleted, observe: func(o *observed) {
			o.reported, o.retries[stepClean] = true, retry{until: epoch.Add(time.Second)}
		}, want: "delete"},
		"deleted and told":   {pod: deleted, observe: func(o *observed) { o.reported, o.cleaned, o.deleted = true, true, true }, want: "wait"},
		"gone":               {desired: func(d *desired) { d.gone = true }, want: "clean"},
		"gone and clean":     {desired: func(d *desired) { d.gone = true }, observe: func(o *observed) { o.cleaned = true }, want: "done"},
		"halted":             {desired: func(d *desired) { d.halt = true }, observe: func(o *observed) { o.sandboxes, o.containers = oneSandbox, all }, want: "stop a-0(20s) b-0(20s)"},
		"halted and at rest": {desired: func(d *desired) { d.halt = true }, want: "wait"},
	} {
		t.Run(name, func(t *testing.T) {
			d := desired{pod: testPod(tc.pod), deadline: epoch.Add(20 * time.Second)}
			if tc.desired != nil {
				tc.desired(&d)
			}
			o := emptyObserved()
			if tc.observe != nil {
				tc.observe(o)
			}
			require.Equal(t, tc.want, brief(testMachine().next(&d, o, epoch)))
		})
	}
}

// world is a naive runtime and API for one pod: it does what next says, sometimes wrongly, and ends processes at random.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	m     *machine
	d     desired
	o     *observed
	now   time.Time
	ids   int
	trace []string
}

func (w *world) check() {
	names := map[string]int{}
	for _, c := range w.o.containers {
		if c.live() {
			names[c.name]++
		}
	}
	for name, n := range names {
		require.Less(w.t, n, 2, "two live containers %s after\n%v", name, w.trace)
	}
}

// do performs an action; with some luck it fails before or after it was done.
func (w *world) do(a action) {
	w.trace = append(w.trace, w.now.Sub(epoch).String()+" "+brief(a))
	w.now = w.now.Add(time.Duration(w.rng.IntN(300)) * time.Millisecond)
	fail := w.rng.IntN(10) == 0
	before := fail && w.rng.IntN(2) == 0
	step := map[verb]string{
		actVolumes: stepVolumes, actRunSandbox: stepSandbox, actStop: stepStop, actStopSandbox: stepStop,
		actRemove: stepClean, actRemoveSandbox: stepClean, actClean: stepClean, actDelete: stepDelete,
	}[a.verb]
	if a.verb == actStart {
		step = a.container.Name
	}
	if fail && !w.d.terminating() {
		w.o.retries[step] = retry{until: w.now.Add(time.Second)}
	} else {
		delete(w.o.retries, step)
		before = false
	}
	if before {
		return
	}
	w.ids++
	find := func(id string) *container {
		i := slices.IndexFunc(w.o.containers, func(c container) bool { return c.id == id })
		if i < 0 {
			return &container{}
		}
		return &w.o.containers[i]
	}
	switch a.verb {
	case actVolumes:
		w.o.volumes, w.o.stale = true, false
	case actRunSandbox:
		for _, s := range w.o.sandboxes {
			require.False(w.t, s.ready, "two sandboxes after\n%v", w.trace)
		}
		w.o.sandboxes = append(w.o.sandboxes, sandbox{id: fmt.Sprint("s", w.ids), ready: true, attempt: a.attempt})
	case actStart:
		state := stateRunning
		if fail {
			state = stateCreated
		}
		for _, c := range w.o.containers {
			require.False(w.t, c.name == a.container.Name && c.attempt == a.attempt && c.sandbox == a.sandbox, "attempt used twice after\n%v", w.trace)
		}
		w.o.containers = append(w.o.containers, container{
			id: fmt.Sprint("c", w.ids), sandbox: a.sandbox, name: a.container.Name, attempt: a.attempt, state: state, started: w.now,
		})
		if a.delay > 0 {
			w.o.crashes[a.container.Name] = crash{a.delay}
		}
	case actStop:
		took := time.Duration(0)
		for _, s := range a.stops {
			took = max(took, time.Duration(w.rng.Int64N(int64(s.grace)+1)))
			if w.rng.IntN(3) == 0 {
				took = s.grace
			}
			c := find(s.container.id)
			c.state, c.exitCode = stateExited, 137
		}
		w.now = w.now.Add(took)
		for _, s := range a.stops {
			find(s.container.id).finished = w.now
		}
	case actStopSandbox:
		for i := range w.o.sandboxes {
			if slices.Contains(a.ids, w.o.sandboxes[i].id) {
				w.o.sandboxes[i].ready = false
			}
		}
	case actRemove:
		for _, id := range a.ids {
			require.False(w.t, find(id).live(), "removed a live container after\n%v", w.trace)
		}
		w.o.containers = slices.DeleteFunc(w.o.containers, func(c container) bool { return slices.Contains(a.ids, c.id) })
	case actRemoveSandbox:
		w.o.sandboxes = slices.DeleteFunc(w.o.sandboxes, func(s sandbox) bool { return slices.Contains(a.ids, s.id) })
	case actReport:
		w.o.reported = true
	case actClean:
		w.o.containers, w.o.sandboxes, w.o.cleaned = nil, nil, true
	case actDelete:
		w.o.deleted, w.d.gone = true, true
	}
}

// disturb lets something happen by itself.
func (w *world) disturb() {
	switch w.rng.IntN(12) {
	case 0, 1, 2:
		if n := len(w.o.containers); n > 0 {
			c := &w.o.containers[w.rng.IntN(n)]
			if c.live() {
				c.state, c.exitCode, c.finished = stateExited, int32(w.rng.IntN(2)), w.now
			}
		}
	case 3:
		for i := range w.o.sandboxes {
			w.o.sandboxes[i].ready = false
		}
	case 4:
		for _, c := range w.o.containers {
			if c.live() {
				w.o.health[c.id] = health{failed: true}
			}
		}
	case 5: // the agent restarts: what only it knew is lost
		w.o.health, w.o.crashes, w.o.retries = map[string]health{}, map[string]crash{}, map[string]retry{}
		w.o.volumes, w.o.stale = len(w.o.sandboxes) > 0, true
	case 6:
		w.o.stale = true
	}
}

// TestRandomWalk drives next through random lives: at no time are there two live containers of a name or two sandboxes,
// and a deleted pod is gone at its grace and 2 s.
func TestRandomWalk(t *testing.T) {
	stops, starts := 0, 0
	for seed := range uint64(3000) {
		w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), m: testMachine(), o: emptyObserved(), now: epoch}
		policy := []corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}[seed%3]
		pod := testPod(func(p *corev1.Pod) { p.Spec.RestartPolicy = policy })
		w.d = desired{pod: pod}
		life := w.rng.IntN(80)
		var deadline time.Time
		for n := 0; ; n++ {
			require.Less(t, n, 400, "no end after\n%v", w.trace)
			if n == life {
				pod = testPod(func(p *corev1.Pod) { p.Spec.RestartPolicy = policy; p.DeletionTimestamp = &metav1.Time{Time: w.now} })
				deadline = w.now.Add(30 * time.Second)
				w.d = desired{pod: pod, deadline: deadline}
			}
			if n < life {
				w.disturb()
			}
			a := w.m.next(&w.d, w.o, w.now)
			require.Equal(t, brief(a), brief(w.m.next(&w.d, w.o, w.now)), "next is not pure")
			if a.verb == actDone {
				break
			}
			switch a.verb {
			case actWait:
				if a.until.IsZero() || n >= life {
					w.now = w.now.Add(time.Second)
				} else {
					w.now = a.until
				}
			case actStart:
				starts++
				w.do(a)
			case actStop:
				stops++
				w.do(a)
			default:
				w.do(a)
			}
			w.check()
		}
		require.False(t, w.now.After(deadline.Add(2*time.Second)), "gone %v after its deadline:\n%v", w.now.Sub(deadline), w.trace)
		require.Empty(t, w.o.containers)
	}
	require.Greater(t, starts, 5000, "the walks were too short to say anything")
	require.Greater(t, stops, 2000, "the walks stopped too little to say anything")
}
