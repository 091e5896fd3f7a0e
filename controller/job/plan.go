package job

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// decision is what to do for a Job now, in this order.
type decision struct {
	create  []int             // pods to make, by index; -1 where pods are not numbered
	discard []*corev1.Pod     // pods to delete that are not to be counted
	end     []*corev1.Pod     // pods to delete that count as failed, because the Job is over
	status  batchv1.JobStatus // to write
	release []*corev1.Pod     // pods that need their finalizer no more once the status is written
	after   time.Duration     // look again then, 0: not before something changes
	expired bool              // the Job is to be deleted
}

// planning is the state of one plan.
type planning struct {
	job         *batchv1.Job
	pods        []*corev1.Pod
	now         time.Time
	d           decision
	completions int // -1: one success is enough, and then no new pods
	completed   map[int]bool
	succeeded   int32 // counted or about to be
	failed      int32
	policy      string // why the failure policy ends the Job
	active      []*corev1.Pod
	terminating int32
}

// plan decides. pods are those that the Job controls.
func plan(j *batchv1.Job, pods []*corev1.Pod, now time.Time) decision {
	p := &planning{job: j, pods: pods, now: now, completions: -1}
	p.d.status = *j.Status.DeepCopy()
	if j.Spec.Completions != nil {
		p.completions = int(*j.Spec.Completions)
	}
	if finished(&j.Status) != nil || j.DeletionTimestamp != nil {
		p.over()
		return p.d
	}
	p.suspension()
	p.account()
	p.target()
	p.pick()
	p.conclude()
	return p.d
}

// over handles a Job that has ended or is being deleted: nothing is counted any more.
func (p *planning) over() {
	for _, pod := range p.pods {
		if tracked(pod) {
			p.d.release = append(p.d.release, pod)
		}
	}
	end := finished(&p.job.Status)
	if end == nil || p.job.DeletionTimestamp != nil || p.job.Spec.TTLSecondsAfterFinished == nil {
		return
	}
	left := end.LastTransitionTime.Add(time.Duration(*p.job.Spec.TTLSecondsAfterFinished) * time.Second).Sub(p.now)
	p.d.after, p.d.expired = max(0, left), left <= 0
}

func (p *planning) suspended() bool { return p.job.Spec.Suspend != nil && *p.job.Spec.Suspend }

// suspension keeps the start time and the Suspended condition.
func (p *planning) suspension() {
	s := &p.d.status
	have := find(s.Conditions, batchv1.JobSuspended)
	switch {
	case p.suspended():
		set(s, batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended", "The Job is suspended", p.now)
	case have != nil && have.Status == corev1.ConditionTrue:
		set(s, batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed", "The Job is resumed", p.now)
		s.StartTime = &metav1.Time{Time: p.now} // the deadline counts from here
	case s.StartTime == nil:
		s.StartTime = &metav1.Time{Time: p.now}
	}
}

// account counts pods that ended. A uid waits in uncountedTerminatedPods as long as its pod has the finalizer, so that
// neither a repeated nor an interrupted step counts it twice or not at all.
func (p *planning) account() {
	s := &p.d.status
	p.completed = make(map[int]bool)
	if indexed(p.job) {
		p.completed = parseIndexes(s.CompletedIndexes, p.completions)
	}
	waiting := make(map[types.UID]bool)
	for _, pod := range p.pods {
		if tracked(pod) {
			waiting[pod.UID] = true
		}
	}
	var uncounted batchv1.UncountedTerminatedPods
	if s.UncountedTerminatedPods != nil {
		uncounted = *s.UncountedTerminatedPods
	}
	noted := make(map[types.UID]bool)
	settle := func(list []types.UID, count *int32) []types.UID {
		var rest []types.UID
		for _, uid := range list {
			noted[uid] = true
			if waiting[uid] {
				rest = append(rest, uid)
			} else {
				*count++
			}
		}
		return rest
	}
	uncounted.Succeeded = settle(uncounted.Succeeded, &s.Succeeded)
	uncounted.Failed = settle(uncounted.Failed, &s.Failed)
	failing := p.failing()
	for _, pod := range p.pods {
		index := indexOf(pod, p.completions)
		fits := !indexed(p.job) || index >= 0
		bad := failed(p.job, pod) || failing && terminating(pod)
		v := judge(p.job, pod)
		if bad && fits && v.failJob != "" && p.policy == "" {
			p.policy = v.failJob
		}
		switch {
		case active(pod):
			p.active = append(p.active, pod)
			continue
		case terminating(pod):
			p.terminating++
		}
		if !tracked(pod) || !bad && pod.Status.Phase != corev1.PodSucceeded {
			continue
		}
		p.d.release = append(p.d.release, pod)
		switch {
		case noted[pod.UID] || !fits:
		case pod.Status.Phase == corev1.PodSucceeded && indexed(p.job):
			p.completed[index] = true
		case pod.Status.Phase == corev1.PodSucceeded:
			uncounted.Succeeded = append(uncounted.Succeeded, pod.UID)
		case v.counts:
			uncounted.Failed = append(uncounted.Failed, pod.UID)
		}
	}
	if indexed(p.job) {
		s.CompletedIndexes, s.Succeeded = formatIndexes(p.completed), int32(len(p.completed))
	}
	p.succeeded = s.Succeeded + int32(len(uncounted.Succeeded))
	p.failed = s.Failed + int32(len(uncounted.Failed))
	s.UncountedTerminatedPods = nil
	if len(uncounted.Succeeded)+len(uncounted.Failed) > 0 {
		s.UncountedTerminatedPods = &uncounted
	}
}

// failing says whether the Job has failed and only waits for its pods.
func (p *planning) failing() bool {
	return find(p.d.status.Conditions, batchv1.JobFailureTarget) != nil
}

// target decides whether the Job has succeeded or failed; it may still have pods then.
func (p *planning) target() {
	s := &p.d.status
	if find(s.Conditions, batchv1.JobFailureTarget) != nil || find(s.Conditions, batchv1.JobSuccessCriteriaMet) != nil {
		return
	}
	fail := func(reason, message string) {
		set(s, batchv1.JobFailureTarget, corev1.ConditionTrue, reason, message, p.now)
	}
	deadline, left := p.deadline()
	switch {
	case p.policy != "":
		fail(batchv1.JobReasonPodFailurePolicy, p.policy)
	case p.failed > backoffLimit(p.job) || restarted(p.job, p.pods):
		fail(batchv1.JobReasonBackoffLimitExceeded, fmt.Sprintf("More pods failed than the back-off limit of %d allows", backoffLimit(p.job)))
	case deadline && left <= 0:
		fail(batchv1.JobReasonDeadlineExceeded, "The Job was active longer than its deadline")
	case p.enough():
		set(s, batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue, batchv1.JobReasonCompletionsReached, "As many pods have succeeded as the Job asks for", p.now)
	case deadline:
		p.soon(left)
	}
}

func (p *planning) deadline() (bool, time.Duration) {
	s := &p.d.status
	if p.job.Spec.ActiveDeadlineSeconds == nil || p.suspended() || s.StartTime == nil {
		return false, 0
	}
	return true, s.StartTime.Add(time.Duration(*p.job.Spec.ActiveDeadlineSeconds) * time.Second).Sub(p.now)
}

// enough says whether all has succeeded that has to. Without a number of completions the pods know among themselves
// when the work is done: then all that run have to end.
func (p *planning) enough() bool {
	if p.completions < 0 {
		return p.succeeded > 0 && len(p.active) == 0 && p.terminating == 0
	}
	return int(p.succeeded) >= p.completions
}

// soon asks to be called again after d, unless an earlier time was asked for.
func (p *planning) soon(d time.Duration) {
	if p.d.after == 0 || d < p.d.after {
		p.d.after = d
	}
}

// pick chooses the pods to make or delete.
func (p *planning) pick() {
	s := &p.d.status
	switch {
	case find(s.Conditions, batchv1.JobFailureTarget) != nil:
		p.d.end = p.active
		return
	case find(s.Conditions, batchv1.JobSuccessCriteriaMet) != nil || p.suspended():
		p.d.discard = p.active
		return
	}
	keep := p.active
	if indexed(p.job) {
		keep = p.oneEach()
	}
	parallel := 1
	if p.job.Spec.Parallelism != nil {
		parallel = int(*p.job.Spec.Parallelism)
	}
	want := parallel
	switch {
	case p.completions >= 0:
		want = min(parallel, p.completions-int(p.succeeded))
	case p.succeeded > 0: // the others end by themselves
		want = min(parallel, len(keep))
	}
	if n := len(keep) - want; n > 0 {
		slices.SortStableFunc(keep, func(a, b *corev1.Pod) int { // the least useful first
			return cmp.Or(worth(a)-worth(b), b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
		})
		p.d.discard = append(p.d.discard, keep[:n]...)
		return
	}
	missing := want - len(keep)
	if onlyFailed(p.job) {
		missing -= int(p.terminating)
	}
	if missing <= 0 {
		return
	}
	if wait := backoff(p.job, p.pods, p.now); wait > 0 {
		p.soon(wait)
		return
	}
	if !indexed(p.job) {
		p.d.create = slices.Repeat([]int{-1}, missing)
		return
	}
	taken := make(map[int]bool)
	for _, pod := range keep {
		taken[indexOf(pod, p.completions)] = true
	}
	if onlyFailed(p.job) {
		for _, pod := range p.pods {
			if terminating(pod) {
				taken[indexOf(pod, p.completions)] = true
			}
		}
	}
	for i := 0; i < p.completions && len(p.d.create) < missing; i++ {
		if !taken[i] && !p.completed[i] {
			p.d.create = append(p.d.create, i)
		}
	}
}

// worth orders pods by how much of their work is probably done.
func worth(p *corev1.Pod) int {
	switch {
	case ready(p):
		return 3
	case p.Status.Phase == corev1.PodRunning:
		return 2
	case p.Spec.NodeName != "":
		return 1
	}
	return 0
}

// oneEach gives the oldest active pod of each index that is still to be done, and discards the others.
func (p *planning) oneEach() []*corev1.Pod {
	slices.SortStableFunc(p.active, func(a, b *corev1.Pod) int {
		return cmp.Or(worth(b)-worth(a), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	seen := make(map[int]bool)
	var keep []*corev1.Pod
	for _, pod := range p.active {
		i := indexOf(pod, p.completions)
		if i < 0 || seen[i] || p.completed[i] {
			p.d.discard = append(p.d.discard, pod)
			continue
		}
		seen[i] = true
		keep = append(keep, pod)
	}
	return keep
}

// conclude fills in the counts and, when all pods are gone and counted, the final condition.
func (p *planning) conclude() {
	s := &p.d.status
	var isReady int32
	for _, pod := range p.active {
		if ready(pod) {
			isReady++
		}
	}
	s.Active, s.Ready, s.Terminating = int32(len(p.active)), &isReady, &p.terminating
	if s.Active > 0 || p.terminating > 0 || s.UncountedTerminatedPods != nil {
		return
	}
	if c := find(s.Conditions, batchv1.JobFailureTarget); c != nil {
		set(s, batchv1.JobFailed, corev1.ConditionTrue, c.Reason, c.Message, p.now)
		return
	}
	if c := find(s.Conditions, batchv1.JobSuccessCriteriaMet); c != nil {
		set(s, batchv1.JobComplete, corev1.ConditionTrue, c.Reason, c.Message, p.now)
		s.CompletionTime = &metav1.Time{Time: p.now}
	}
}

// finished is the final condition, or nil.
func finished(s *batchv1.JobStatus) *batchv1.JobCondition {
	for i := range s.Conditions {
		c := &s.Conditions[i]
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}

func find(conditions []batchv1.JobCondition, t batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range conditions {
		if conditions[i].Type == t {
			return &conditions[i]
		}
	}
	return nil
}

func set(s *batchv1.JobStatus, t batchv1.JobConditionType, value corev1.ConditionStatus, reason, message string, now time.Time) {
	want := batchv1.JobCondition{
		Type: t, Status: value, Reason: reason, Message: message,
		LastProbeTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now),
	}
	switch have := find(s.Conditions, t); {
	case have == nil:
		s.Conditions = append(s.Conditions, want)
	case have.Status != value:
		*have = want
	}
}
