package job

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var epoch = time.Unix(1e9, 0)

func TestIndexText(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "0": "0", "0,1": "0,1", "0-2,4": "0-2,4", "1,0,2": "0-2", "8-99": "8,9", "x,3,-1,2-y": "3", "5-3": "", "0-999999999": "0-9",
	} {
		require.Equal(t, want, formatIndexes(parseIndexes(text, 10)), text)
	}
}

func FuzzIndexText(f *testing.F) {
	f.Add("0-2,4")
	f.Fuzz(func(t *testing.T, text string) {
		set := parseIndexes(text, 50)
		require.Equal(t, set, parseIndexes(formatIndexes(set), 50))
	})
}

func newJob(completions int32) *batchv1.Job {
	return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "work", UID: "j"}, Spec: batchv1.JobSpec{Completions: &completions, Parallelism: &completions}}
}

func newTestPod(name string, phase corev1.PodPhase, ended time.Duration, finalizers ...string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Finalizers: finalizers},
		Status: corev1.PodStatus{Phase: phase, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, FinishedAt: metav1.NewTime(epoch.Add(ended))},
		}}}},
	}
}

func TestBackoffGrows(t *testing.T) {
	j := newJob(1)
	var pods []*corev1.Pod
	for i, want := range []time.Duration{10, 20, 40, 80, 160, 320, 600, 600} {
		pods = append(pods, newTestPod(string(rune('a'+i)), corev1.PodFailed, time.Duration(i)*time.Second))
		now := epoch.Add(time.Duration(i) * time.Second)
		require.Equal(t, want*time.Second, backoff(j, pods, now))
		require.Equal(t, (want-3)*time.Second, backoff(j, pods, now.Add(3*time.Second)))
		require.Zero(t, backoff(j, pods, now.Add(time.Hour)))
	}
	pods = append(pods, newTestPod("good", corev1.PodSucceeded, 5*time.Second))
	require.Equal(t, 20*time.Second, backoff(j, pods, epoch.Add(7*time.Second)), "only the two failures after the success count")
}

// TestAccounting goes through the steps of counting one pod, with each step repeated.
func TestAccounting(t *testing.T) {
	j := newJob(2)
	pod := newTestPod("a", corev1.PodFailed, 0, batchv1.JobTrackingFinalizer)
	now := epoch.Add(time.Hour)
	for range 3 { // the uid is noted, however often
		d := plan(j, []*corev1.Pod{pod}, now)
		require.Equal(t, []types.UID{"a"}, d.status.UncountedTerminatedPods.Failed)
		require.Zero(t, d.status.Failed)
		require.Equal(t, []*corev1.Pod{pod}, d.release)
		j.Status = d.status
	}
	pod.Finalizers = nil
	for range 3 { // it is counted once
		d := plan(j, []*corev1.Pod{pod}, now)
		require.Nil(t, d.status.UncountedTerminatedPods)
		require.Equal(t, int32(1), d.status.Failed)
		require.Empty(t, d.release)
		j.Status = d.status
	}
}

func TestPodsToMakeAndDelete(t *testing.T) {
	running := func(names ...string) (out []*corev1.Pod) {
		for _, name := range names {
			out = append(out, newTestPod(name, corev1.PodRunning, 0, batchv1.JobTrackingFinalizer))
		}
		return out
	}
	number := func(n int32) *int32 { return &n }
	for _, c := range []struct {
		name                     string
		parallelism, completions *int32
		succeeded                int32
		pods                     []*corev1.Pod
		create, discard          int
	}{
		{"start", number(3), number(5), 0, nil, 3, 0},
		{"few are left", number(3), number(5), 4, nil, 1, 0},
		{"enough run", number(3), number(5), 0, running("a", "b", "c"), 0, 0},
		{"parallelism lowered", number(1), number(5), 0, running("a", "b", "c"), 0, 2},
		{"parallelism zero", number(0), number(5), 0, running("a"), 0, 1},
		{"no completions asked for", number(3), number(0), 0, running("a"), 0, 1},
		{"work queue", number(3), nil, 0, running("a"), 2, 0},
		{"work queue with a success", number(3), nil, 1, running("a"), 0, 0},
	} {
		j := newJob(0)
		j.Spec.Parallelism, j.Spec.Completions, j.Status.Succeeded = c.parallelism, c.completions, c.succeeded
		d := plan(j, c.pods, epoch)
		require.Len(t, d.create, c.create, c.name)
		require.Len(t, d.discard, c.discard, c.name)
	}
}

func TestIndexesToMake(t *testing.T) {
	mode := batchv1.IndexedCompletion
	j := newJob(5)
	j.Spec.CompletionMode = &mode
	j.Status.CompletedIndexes = "1"
	at := func(name, index string) *corev1.Pod {
		p := newTestPod(name, corev1.PodRunning, 0, batchv1.JobTrackingFinalizer)
		p.Annotations = map[string]string{batchv1.JobCompletionIndexAnnotation: index}
		return p
	}
	d := plan(j, []*corev1.Pod{at("a", "2"), at("twice", "2"), at("done", "1"), at("none", "x"), at("beyond", "5")}, epoch)
	require.Equal(t, []int{0, 3, 4}, d.create)
	var discarded []string
	for _, p := range d.discard {
		discarded = append(discarded, p.Name)
	}
	require.ElementsMatch(t, []string{"twice", "done", "none", "beyond"}, discarded)
}

func TestRestartsCountOnFailure(t *testing.T) {
	j := newJob(1)
	limit := int32(2)
	j.Spec.BackoffLimit = &limit
	j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	p := newTestPod("a", corev1.PodRunning, 0)
	for n, want := range []bool{false, false, true} {
		p.Status.ContainerStatuses[0].RestartCount = int32(n)
		require.Equal(t, want, restarted(j, []*corev1.Pod{p}), "%d restarts", n)
	}
}
