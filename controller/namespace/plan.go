package namespace

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// outcome is what was found and done in a namespace.
type outcome struct {
	refused    []string       // sentences, one for each kind that could not be emptied
	remaining  map[string]int // objects that are still there, by kind
	finalizers map[string]int // what they wait for, by finalizer
	grace      time.Duration  // the longest time that a pod has left to end
}

func newOutcome() *outcome {
	return &outcome{remaining: map[string]int{}, finalizers: map[string]int{}}
}

func (o *outcome) refuse(k *kind.Kind, err error) {
	o.refused = append(o.refused, fmt.Sprintf("%s: %v", k, err))
}

func (o *outcome) remains(k *kind.Kind, obj kind.Instance, now time.Time) {
	o.remaining[k.String()]++
	for _, f := range obj.GetFinalizers() {
		o.finalizers[f]++
	}
	if at := obj.GetDeletionTimestamp(); at != nil {
		o.grace = max(o.grace, at.Sub(now))
	}
}

func (o *outcome) empty() bool { return len(o.refused) == 0 && len(o.remaining) == 0 }

// conditions are the namespace's with those that say how far its deletion is; old times stay where nothing changed.
func (o *outcome) conditions(old []corev1.NamespaceCondition, now time.Time) []corev1.NamespaceCondition {
	out := slices.Clone(old)
	set := func(t corev1.NamespaceConditionType, on bool, reasonOn, reasonOff, messageOn, messageOff string) {
		c := corev1.NamespaceCondition{Type: t, Status: corev1.ConditionFalse, Reason: reasonOff, Message: messageOff, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second))}
		if on {
			c.Status, c.Reason, c.Message = corev1.ConditionTrue, reasonOn, messageOn
		}
		i := slices.IndexFunc(out, func(o corev1.NamespaceCondition) bool { return o.Type == t })
		if i < 0 {
			out = append(out, c)
			return
		}
		if out[i].Status == c.Status {
			c.LastTransitionTime = out[i].LastTransitionTime
		}
		out[i] = c
	}
	set(corev1.NamespaceDeletionContentFailure, len(o.refused) > 0, "ContentDeletionFailed", "ContentDeleted",
		"could not delete everything: "+strings.Join(o.refused, "; "), "all that is there could be deleted, though it may wait for finalizers")
	set(corev1.NamespaceContentRemaining, len(o.remaining) > 0, "SomeResourcesRemain", "ContentRemoved",
		"still there: "+counts(o.remaining), "nothing is left")
	set(corev1.NamespaceFinalizersRemaining, len(o.finalizers) > 0, "SomeFinalizersRemain", "ContentHasNoFinalizers",
		"what is left waits for: "+counts(o.finalizers), "nothing waits for a finalizer")
	return out
}

func counts(m map[string]int) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%s (%d)", name, m[name]))
	}
	return strings.Join(out, ", ")
}

// wait is how long until it is worth looking again, after tries that found something left. Half of what pods have
// left, because many end earlier.
func (o *outcome) wait(tries int, longest time.Duration) time.Duration {
	delay := longest
	if tries < 16 {
		delay = min(longest, 50*time.Millisecond<<tries)
	}
	if o.grace > 0 {
		return min(longest, max(delay, o.grace/2))
	}
	return delay
}
