package scheduler

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func waitingUnit(name string, priority int32) *Unit {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID("uid-" + name), CreationTimestamp: metav1.Now()}}
	p.Spec.Priority = &priority
	return newUnit(p, p)
}

func always([]string, *Unit, Event) bool { return true }

func TestQueueOrdersByPriorityThenAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(time.Second, 10*time.Second, always)
		for i, priority := range []int32{0, 5, 0, 5} {
			q.put(waitingUnit(fmt.Sprint(i), priority), true)
			time.Sleep(time.Second)
		}
		var got []string
		for range 4 {
			_, u, err := q.pop(t.Context())
			require.NoError(t, err)
			got = append(got, u.key.Name)
		}
		require.Equal(t, []string{"1", "3", "0", "2"}, got)
	})
}

func TestParkedUnitWaitsForAnEventAndItsBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		helps := false
		q := newQueue(time.Second, 10*time.Second, func([]string, *Unit, Event) bool { return helps })
		q.put(waitingUnit("a", 0), true)
		e, _, err := q.pop(t.Context())
		require.NoError(t, err)
		q.park(e, []string{"Fit"})
		q.happened(Event{Kind: TargetChanged})
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, _, err = q.pop(short)
		require.ErrorIs(t, err, context.DeadlineExceeded, "an event that can't help wakes nobody")

		helps = true
		q.happened(Event{Kind: TargetChanged})
		e, _, err = q.pop(t.Context())
		require.NoError(t, err, "its back-off was long over")

		start := time.Now()
		q.park(e, []string{"Fit"})
		q.happened(Event{Kind: TargetChanged})
		_, _, err = q.pop(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2*time.Second, time.Since(start), "the second attempt backs off twice as long")
	})
}

func TestEventDuringACycleIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(time.Second, time.Second, always)
		q.put(waitingUnit("a", 0), true)
		e, _, err := q.pop(t.Context())
		require.NoError(t, err)
		q.happened(Event{Kind: TargetAdded})
		q.park(e, []string{"Fit"})
		_, _, err = q.pop(t.Context())
		require.NoError(t, err)
	})
}

func TestRemovedUnitIsNotPopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(time.Second, time.Second, always)
		q.put(waitingUnit("a", 0), true)
		q.put(waitingUnit("b", 0), true)
		q.remove(waitingUnit("a", 0).key)
		_, u, err := q.pop(t.Context())
		require.NoError(t, err)
		require.Equal(t, "b", u.key.Name)
		require.Equal(t, 1, q.len())
	})
}

func TestSameNameOfAnotherObjectStartsOver(t *testing.T) {
	q := newQueue(time.Second, time.Second, always)
	q.put(waitingUnit("a", 0), true)
	e, _ := q.tryPop()
	second := waitingUnit("a", 0)
	second.Object.SetUID("other")
	q.put(second, true)
	q.park(e, nil) // the first one's cycle ends: no effect
	e2, u := q.tryPop()
	require.NotNil(t, e2)
	require.Equal(t, types.UID("other"), u.Object.GetUID())
}
