package job_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller/controllertest"
	"github.com/keelson-dev/keelson/controller/job"
)

type plane struct {
	*controllertest.ControlPlane
	t *testing.T
}

func run(t *testing.T, test func(p *plane)) {
	synctest.Test(t, func(t *testing.T) {
		p := &plane{controllertest.New(t, controllertest.Timeout(48*time.Hour)), t}
		controllertest.AddNodeAgent(p.ControlPlane, controllertest.NodeAgent{})
		require.NoError(t, job.New(p.Manager, job.Config{}))
		p.Start()
		test(p)
	})
}

// apply creates the Job "work" with lines of its spec.
func (p *plane) apply(spec string) {
	p.t.Helper()
	p.Apply(fmt.Sprintf(`
apiVersion: batch/v1
kind: Job
metadata: {name: work}
spec:
%s
  template:
    spec:
      nodeName: n1
      restartPolicy: Never
      containers: [{name: work, image: work}]
`, spec))
	p.Idle()
}

func (p *plane) job() *batchv1.Job {
	p.t.Helper()
	return controllertest.Get(p.ControlPlane, kind.Job, "default", "work")
}

func (p *plane) pods(phase corev1.PodPhase) (out []*corev1.Pod) {
	p.t.Helper()
	for _, pod := range controllertest.List(p.ControlPlane, kind.Pod, "default") {
		if pod.Status.Phase == phase && pod.DeletionTimestamp == nil {
			out = append(out, pod)
		}
	}
	return out
}

// end ends a running pod with an exit code.
func (p *plane) end(pod *corev1.Pod, code int32) {
	p.t.Helper()
	controllertest.MutateStatus(p.ControlPlane, kind.Pod, "default", pod.Name, func(pod *corev1.Pod) {
		pod.Status.Phase = corev1.PodSucceeded
		if code != 0 {
			pod.Status.Phase = corev1.PodFailed
		}
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "work", State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.Now()},
		}}}
	})
	p.Idle()
}

func (p *plane) running(n int) []*corev1.Pod {
	p.t.Helper()
	list := p.pods(corev1.PodRunning)
	require.Len(p.t, list, n)
	return list
}

// ended checks how the Job ended and that it holds no pod any more.
func (p *plane) ended(condition batchv1.JobConditionType, reason string) *batchv1.Job {
	p.t.Helper()
	p.Idle()
	j := p.job()
	for _, c := range j.Status.Conditions {
		if c.Type == condition && c.Status == corev1.ConditionTrue {
			require.Equal(p.t, reason, c.Reason)
			require.Zero(p.t, j.Status.Active)
			require.Nil(p.t, j.Status.UncountedTerminatedPods)
			require.Empty(p.t, p.pods(corev1.PodRunning))
			for _, pod := range controllertest.List(p.ControlPlane, kind.Pod, "default") {
				require.Empty(p.t, pod.Finalizers)
			}
			return j
		}
	}
	require.Failf(p.t, "not ended", "want %s, have %+v", condition, j.Status)
	return nil
}

func TestCompletions(t *testing.T) {
	run(t, func(p *plane) {
		p.apply("  parallelism: 2\n  completions: 3")
		j := p.job()
		require.Equal(p.t, int32(2), j.Status.Active)
		require.Equal(p.t, int32(2), *j.Status.Ready)
		require.NotNil(p.t, j.Status.StartTime)
		require.Contains(p.t, p.running(2)[0].Finalizers, batchv1.JobTrackingFinalizer)
		for left := range 3 {
			p.end(p.running(min(2, 3-left))[0], 0)
		}
		j = p.ended(batchv1.JobComplete, batchv1.JobReasonCompletionsReached)
		require.Equal(p.t, int32(3), j.Status.Succeeded)
		require.NotNil(p.t, j.Status.CompletionTime)
	})
}

func TestIndexed(t *testing.T) {
	run(t, func(p *plane) {
		p.apply("  parallelism: 3\n  completions: 4\n  completionMode: Indexed")
		index := func(pod *corev1.Pod) string { return pod.Annotations[batchv1.JobCompletionIndexAnnotation] }
		var have []string
		for _, pod := range p.running(3) {
			have = append(have, index(pod))
			require.Equal(p.t, "work-"+index(pod), pod.Spec.Hostname)
			require.Equal(p.t, index(pod), pod.Labels[batchv1.JobCompletionIndexAnnotation])
			require.Equal(p.t, "JOB_COMPLETION_INDEX", pod.Spec.Containers[0].Env[0].Name)
		}
		require.ElementsMatch(p.t, []string{"0", "1", "2"}, have)
		for _, pod := range p.running(3) {
			if index(pod) == "1" {
				p.end(pod, 3)
			} else {
				p.end(pod, 0)
			}
		}
		require.Equal(p.t, "0,2", p.job().Status.CompletedIndexes)
		<-time.After(time.Minute) // of virtual time: index 1 is tried again
		p.Idle()
		for _, pod := range p.running(2) {
			p.end(pod, 0)
		}
		j := p.ended(batchv1.JobComplete, batchv1.JobReasonCompletionsReached)
		require.Equal(p.t, "0-3", j.Status.CompletedIndexes)
		require.Equal(p.t, int32(1), j.Status.Failed)
	})
}

func TestWorkQueue(t *testing.T) {
	run(t, func(p *plane) {
		p.apply("  parallelism: 3")
		pods := p.running(3)
		p.end(pods[0], 0)
		p.running(2) // the others go on, nobody is added
		p.end(pods[1], 0)
		p.end(pods[2], 0)
		p.ended(batchv1.JobComplete, batchv1.JobReasonCompletionsReached)
	})
}

func TestBackoff(t *testing.T) {
	run(t, func(p *plane) {
		p.apply("  backoffLimit: 3")
		for i, wait := range []time.Duration{10, 20, 40} {
			p.end(p.running(1)[0], 1)
			p.running(0)
			failed := time.Now()
			controllertest.WaitFor(p.ControlPlane, kind.Job, "default", "work", func(j *batchv1.Job) bool { return j.Status.Active == 1 })
			p.Idle()
			require.InDelta(p.t, wait*time.Second, time.Since(failed), float64(1500*time.Millisecond), "after failure %d", i+1)
		}
		p.end(p.running(1)[0], 1)
		require.Equal(p.t, int32(4), p.ended(batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded).Status.Failed)
	})
}

func TestDeadline(t *testing.T) {
	run(t, func(p *plane) {
		p.apply("  parallelism: 2\n  completions: 2\n  activeDeadlineSeconds: 60")
		p.running(2)
		controllertest.WaitFor(p.ControlPlane, kind.Job, "default", "work", func(j *batchv1.Job) bool { return j.Status.Failed == 2 })
		p.ended(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded)
	})
}

func TestSuspend(t *testing.T) {
	run(t, func(p *plane) {
		p.apply("  parallelism: 2\n  completions: 2\n  suspend: true\n  activeDeadlineSeconds: 60")
		p.running(0)
		require.Nil(p.t, p.job().Status.StartTime)
		<-time.After(time.Hour) // of virtual time: the deadline does not count
		suspend := func(yes bool) {
			controllertest.Mutate(p.ControlPlane, kind.Job, "default", "work", func(j *batchv1.Job) { j.Spec.Suspend = &yes })
			p.Idle()
		}
		suspend(false)
		p.running(2)
		suspend(true)
		p.running(0)
		require.Zero(p.t, p.job().Status.Failed, "suspending is no failure")
		<-time.After(time.Hour) // the deadline starts again
		suspend(false)
		for _, pod := range p.running(2) {
			p.end(pod, 0)
		}
		p.ended(batchv1.JobComplete, batchv1.JobReasonCompletionsReached)
	})
}

func TestFailurePolicy(t *testing.T) {
	run(t, func(p *plane) {
		p.apply(`  backoffLimit: 0
  podFailurePolicy:
    rules:
    - {action: FailJob, onExitCodes: {operator: In, values: [42]}}
    - {action: Ignore, onPodConditions: [{type: DisruptionTarget}]}
    - {action: Ignore, onExitCodes: {operator: NotIn, values: [1, 42]}}`)
		p.end(p.running(1)[0], 7)
		require.Zero(p.t, p.job().Status.Failed)
		p.end(p.running(1)[0], 42)
		require.Equal(p.t, int32(1), p.ended(batchv1.JobFailed, batchv1.JobReasonPodFailurePolicy).Status.Failed)
	})
}

func TestTTL(t *testing.T) {
	run(t, func(p *plane) {
		p.apply("  ttlSecondsAfterFinished: 100")
		p.end(p.running(1)[0], 0)
		p.ended(batchv1.JobComplete, batchv1.JobReasonCompletionsReached)
		start := time.Now()
		controllertest.WaitGone(p.ControlPlane, kind.Job, "default", "work")
		require.InDelta(p.t, 100, time.Since(start).Seconds(), 2)
	})
}

func TestDeletedPodsCountAndDeletedJobsLetGo(t *testing.T) {
	run(t, func(p *plane) {
		p.apply("  parallelism: 2\n  completions: 2")
		controllertest.Delete(p.ControlPlane, kind.Pod, "default", p.running(2)[0].Name)
		p.Idle()
		require.Equal(p.t, int32(1), p.job().Status.Failed)
		controllertest.Delete(p.ControlPlane, kind.Job, "default", "work")
		p.Idle()
		for _, pod := range controllertest.List(p.ControlPlane, kind.Pod, "default") {
			require.Empty(p.t, pod.Finalizers)
		}
	})
}

func TestFaultsDontMiscount(t *testing.T) {
	for name, fault := range map[string]controllertest.Fault{
		"conflicts on status":      {Verb: client.Update, Kind: kind.Job.Kind(), Conflict: true, Count: 8},
		"lost replies of status":   {Verb: client.Update, Kind: kind.Job.Kind(), LoseReply: true, Count: 8},
		"lost replies of releases": {Verb: client.Update, Kind: kind.Pod.Kind(), LoseReply: true, Count: 5},
		"refused releases":         {Verb: client.Update, Kind: kind.Pod.Kind(), Err: errors.New("injected"), Count: 5},
		"lost replies of creates":  {Verb: client.Create, Kind: kind.Pod.Kind(), LoseReply: true, Count: 4},
		"slow releases":            {Verb: client.Update, Kind: kind.Pod.Kind(), Delay: 3 * time.Second, Count: 5},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(p *plane) {
				injection := p.Faults.Inject(fault)
				p.apply("  parallelism: 3\n  completions: 7\n  backoffLimit: 3")
				p.end(p.running(3)[0], 1)
				for p.job().Status.Succeeded < 7 {
					<-time.After(time.Minute) // of virtual time
					p.Faults.EndWatches(controllertest.Expired())
					p.Idle()
					if list := p.pods(corev1.PodRunning); len(list) > 0 {
						p.end(list[0], 0)
					}
				}
				<-time.After(time.Minute)
				j := p.ended(batchv1.JobComplete, batchv1.JobReasonCompletionsReached)
				require.Equal(p.t, int32(7), j.Status.Succeeded)
				require.Equal(p.t, int32(1), j.Status.Failed)
				require.Positive(p.t, injection.Hits())
			})
		})
	}
}
