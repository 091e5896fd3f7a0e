package job

import (
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// The back-off before a pod that failed is replaced. Source: batch/v1 documentation, pod back-off failure policy.
const (
	baseBackoff = 10 * time.Second
	maxBackoff  = 10 * time.Minute
)

// verdict is what the failure policy says about a pod that failed.
type verdict struct {
	counts  bool   // against the back-off limit
	failJob string // why the Job fails at once; empty if it does not
}

// judge applies the first rule that fits.
func judge(j *batchv1.Job, p *corev1.Pod) verdict {
	if j.Spec.PodFailurePolicy == nil || p.Status.Phase != corev1.PodFailed {
		return verdict{counts: true}
	}
	for i := range j.Spec.PodFailurePolicy.Rules {
		rule := &j.Spec.PodFailurePolicy.Rules[i]
		why := ""
		if rule.OnExitCodes != nil {
			why = exitCodeOf(p, rule.OnExitCodes)
		} else {
			why = conditionOf(p, rule.OnPodConditions)
		}
		if why == "" {
			continue
		}
		switch rule.Action {
		case batchv1.PodFailurePolicyActionIgnore:
			return verdict{}
		case batchv1.PodFailurePolicyActionFailJob:
			return verdict{counts: true, failJob: fmt.Sprintf("Pod %s/%s %s, which rule %d of the failure policy answers with FailJob", p.Namespace, p.Name, why, i)}
		}
		return verdict{counts: true}
	}
	return verdict{counts: true}
}

// exitCodeOf says which container ended with a code that the requirement names; empty for none. Success is never a
// match.
func exitCodeOf(p *corev1.Pod, want *batchv1.PodFailurePolicyOnExitCodesRequirement) string {
	for _, list := range [][]corev1.ContainerStatus{p.Status.ContainerStatuses, p.Status.InitContainerStatuses} {
		for i := range list {
			s := &list[i]
			if s.State.Terminated == nil || s.State.Terminated.ExitCode == 0 || want.ContainerName != nil && *want.ContainerName != s.Name {
				continue
			}
			code := s.State.Terminated.ExitCode
			if slices.Contains(want.Values, code) == (want.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
				return fmt.Sprintf("had container %s end with exit code %d", s.Name, code)
			}
		}
	}
	return ""
}

func conditionOf(p *corev1.Pod, patterns []batchv1.PodFailurePolicyOnPodConditionsPattern) string {
	for _, pattern := range patterns {
		for i := range p.Status.Conditions {
			if c := &p.Status.Conditions[i]; c.Type == pattern.Type && c.Status == pattern.Status {
				return fmt.Sprintf("has condition %s=%s", c.Type, c.Status)
			}
		}
	}
	return ""
}

// backoff is how long to wait before another pod is made: it doubles with each pod that failed since one ended well,
// and counts from the last failure. It looks at the pods that still exist, so it needs no memory and survives a
// restart.
func backoff(j *batchv1.Job, pods []*corev1.Pod, now time.Time) time.Duration {
	var success, last time.Time
	for _, p := range pods {
		if p.Status.Phase == corev1.PodSucceeded {
			if at := endedAt(p); at.After(success) {
				success = at
			}
		}
	}
	n := 0
	for _, p := range pods {
		if !failed(j, p) || !judge(j, p).counts {
			continue
		}
		if at := endedAt(p); at.After(success) {
			n++
			if at.After(last) {
				last = at
			}
		}
	}
	if n == 0 {
		return 0
	}
	delay := maxBackoff
	if n <= 6 { // 10 s doubled more than six times is past the limit
		delay = min(maxBackoff, baseBackoff<<(n-1))
	}
	return max(0, last.Add(delay).Sub(now))
}

// restarted says whether pods that restart their own containers did so too often.
func restarted(j *batchv1.Job, pods []*corev1.Pod) bool {
	if j.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	var n int32
	for _, p := range pods {
		if !active(p) {
			continue
		}
		for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
			for i := range list {
				n += list[i].RestartCount
			}
		}
	}
	return n > 0 && n >= backoffLimit(j)
}

func backoffLimit(j *batchv1.Job) int32 {
	if j.Spec.BackoffLimit == nil {
		return 6
	}
	return *j.Spec.BackoffLimit
}
