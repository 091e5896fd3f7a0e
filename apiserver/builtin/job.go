package builtin

import (
	"maps"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func jobs() behaviour[*batchv1.Job] {
	return behaviour[*batchv1.Job]{
		defaults:       defaultJob,
		prepare:        prepareJob,
		validate:       validateJob,
		validateStatus: validateJobStatus,
		warnings: func(j, _ *batchv1.Job) []string {
			return podSpecWarnings(&j.Spec.Template.Spec, field.NewPath("spec", "template", "spec"))
		},
		status: true,
		fields: map[string]func(*batchv1.Job) string{
			"status.successful": func(j *batchv1.Job) string { return integer(int64(j.Status.Succeeded)) },
		},
		columns: append([]kind.Column{
			nameColumn(),
			column("Status", "Condition of the job", func(j *batchv1.Job, _ time.Time) any { return jobState(j) }),
			column("Completions", "Pods that succeeded of those wanted", func(j *batchv1.Job, _ time.Time) any { return jobCompletions(j) }),
			column("Duration", "Time from start to completion, or so far", func(j *batchv1.Job, now time.Time) any { return jobDuration(j, now) }),
			ageColumn(),
		}, templateColumns(func(j *batchv1.Job) (*metav1.LabelSelector, containers) {
			return j.Spec.Selector, j.Spec.Template.Spec.Containers
		})...),
	}
}

func defaultJob(j *batchv1.Job) {
	if len(j.Labels) == 0 && j.Spec.Template.Labels != nil {
		j.Labels = maps.Clone(j.Spec.Template.Labels)
	}
	defaultJobSpec(&j.Spec)
}

// defaultJobSpec is also for the templates of cron jobs.
func defaultJobSpec(s *batchv1.JobSpec) {
	if s.Completions == nil && s.Parallelism == nil { // with only parallelism set, the pods work on a queue of their own
		setPtr(&s.Completions, 1)
	}
	setPtr(&s.Parallelism, 1)
	if s.BackoffLimit == nil {
		limit := int32(6)
		if s.BackoffLimitPerIndex != nil { // failures count per index, the job as a whole has no limit
			limit = 1<<31 - 1
		}
		s.BackoffLimit = &limit
	}
	setPtr(&s.CompletionMode, batchv1.NonIndexedCompletion)
	setPtr(&s.Suspend, false)
	setPtr(&s.ManualSelector, false)
	if s.PodReplacementPolicy == nil {
		policy := batchv1.TerminatingOrFailed
		if s.PodFailurePolicy != nil {
			policy = batchv1.Failed
		}
		s.PodReplacementPolicy = &policy
	}
	if p := s.PodFailurePolicy; p != nil {
		for i := range p.Rules {
			for j := range p.Rules[i].OnPodConditions {
				set(&p.Rules[i].OnPodConditions[j].Status, corev1.ConditionTrue)
			}
		}
	}
	defaultPodSpec(&s.Template.Spec)
}

// prepareJob generates the selector of a new job from its UID, so that two jobs never fight over pods.
func prepareJob(j, old *batchv1.Job) {
	if old != nil {
		j.Status = *old.Status.DeepCopy()
		return
	}
	j.Status = batchv1.JobStatus{}
	if deref(j.Spec.ManualSelector) {
		return
	}
	uid := string(j.UID)
	labels := copyLabels(j.Spec.Template.Labels)
	for _, name := range []string{"job-name", batchv1.JobNameLabel} {
		labels[name] = j.Name
	}
	for _, name := range []string{"controller-uid", batchv1.ControllerUidLabel} {
		labels[name] = uid
	}
	j.Spec.Template.Labels = labels
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	match := copyLabels(j.Spec.Selector.MatchLabels)
	match[batchv1.ControllerUidLabel] = uid
	j.Spec.Selector = &metav1.LabelSelector{MatchLabels: match, MatchExpressions: j.Spec.Selector.MatchExpressions}
}

// jobState names the condition that says most about where a job stands.
func jobState(j *batchv1.Job) string {
	has := func(t batchv1.JobConditionType) bool {
		for _, c := range j.Status.Conditions {
			if c.Type == t && c.Status == corev1.ConditionTrue {
				return true
			}
		}
		return false
	}
	for _, t := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
		if has(t) {
			return string(t)
		}
	}
	switch {
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case has(batchv1.JobSuspended):
		return string(batchv1.JobSuspended)
	case has(batchv1.JobFailureTarget):
		return string(batchv1.JobFailureTarget)
	case has(batchv1.JobSuccessCriteriaMet):
		return string(batchv1.JobSuccessCriteriaMet)
	}
	return "Running"
}

func jobCompletions(j *batchv1.Job) string {
	if j.Spec.Completions != nil {
		return ratio(j.Status.Succeeded, *j.Spec.Completions)
	}
	if n := deref(j.Spec.Parallelism); n > 1 {
		return ratio(j.Status.Succeeded, 1) + " of " + integer(int64(n))
	}
	return ratio(j.Status.Succeeded, 1)
}

func jobDuration(j *batchv1.Job, now time.Time) string {
	if j.Status.StartTime == nil {
		return ""
	}
	end := now
	if j.Status.CompletionTime != nil {
		end = j.Status.CompletionTime.Time
	}
	return duration.HumanDuration(end.Sub(j.Status.StartTime.Time))
}
