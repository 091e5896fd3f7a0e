package namespace

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func TestConditions(t *testing.T) {
	now := time.Unix(1000, 0)
	p := kind.Pod.New()
	p.Finalizers = []string{"example.com/a"}
	p.DeletionTimestamp = &metav1.Time{Time: now.Add(30 * time.Second)}
	o := newOutcome()
	require.True(t, o.empty())
	o.remains(kind.Pod.Kind(), p, now)
	o.remains(kind.Pod.Kind(), kind.Pod.New(), now)
	o.refuse(kind.Secret.Kind(), errors.New("no"))
	require.False(t, o.empty())
	got := o.conditions(nil, now)
	require.Equal(t, []string{
		"NamespaceDeletionContentFailure True could not delete everything: secrets: no",
		"NamespaceContentRemaining True still there: pods (2)",
		"NamespaceFinalizersRemaining True what is left waits for: example.com/a (1)",
	}, lines(got))
	require.Equal(t, got, o.conditions(got, now.Add(time.Hour)), "times stay where nothing changed")
	done := newOutcome().conditions(got, now.Add(time.Hour))
	require.Len(t, done, 3)
	for _, c := range done {
		require.Equal(t, corev1.ConditionFalse, c.Status)
		require.Equal(t, now.Add(time.Hour).Unix(), c.LastTransitionTime.Unix())
	}
}

func lines(conditions []corev1.NamespaceCondition) []string {
	var out []string
	for _, c := range conditions {
		out = append(out, string(c.Type)+" "+string(c.Status)+" "+c.Message)
	}
	return out
}

func TestWait(t *testing.T) {
	o := newOutcome()
	require.Equal(t, 50*time.Millisecond, o.wait(0, 15*time.Second))
	require.Equal(t, 400*time.Millisecond, o.wait(3, 15*time.Second))
	require.Equal(t, 15*time.Second, o.wait(10, 15*time.Second))
	require.Equal(t, 15*time.Second, o.wait(1_000_000, 15*time.Second))
	o.grace = 10 * time.Second
	require.Equal(t, 5*time.Second, o.wait(0, 15*time.Second))
	o.grace = time.Hour
	require.Equal(t, 15*time.Second, o.wait(0, 15*time.Second))
}
