package garbage

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func object(finalizers []string, owners ...string) kind.Instance {
	obj := kind.ConfigMap.New()
	obj.Finalizers = finalizers
	for _, o := range owners {
		obj.OwnerReferences = append(obj.OwnerReferences, metav1.OwnerReference{UID: types.UID(o), BlockOwnerDeletion: new(true)})
	}
	return obj
}

func TestDecide(t *testing.T) {
	foreground := []string{metav1.FinalizerDeleteDependents}
	for _, c := range []struct {
		name       string
		finalizers []string
		states     []ownerState
		dependents bool
		want       string
	}{
		{name: "all there", states: []ownerState{solid, solid}, want: "nothing"},
		{name: "one gone", states: []ownerState{solid, absent}, want: "keep [0]"},
		{name: "one waits", states: []ownerState{waiting, solid, solid}, want: "keep [1 2]"},
		{name: "all gone", states: []ownerState{absent, absent}, want: "delete Background"},
		{name: "gone, with dependents", states: []ownerState{absent}, dependents: true, want: "delete Background"},
		{name: "gone, orphans its own", states: []ownerState{absent}, finalizers: []string{metav1.FinalizerOrphanDependents}, want: "delete Orphan"},
		{name: "gone, foreground", states: []ownerState{absent}, finalizers: foreground, want: "delete Foreground"},
		{name: "waits", states: []ownerState{waiting}, want: "delete Background"},
		{name: "waits, with dependents", states: []ownerState{waiting, absent}, dependents: true, want: "delete Foreground"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var owners []string
			for i := range c.states {
				owners = append(owners, fmt.Sprint(i))
			}
			a := decide(object(c.finalizers, owners...), c.states, c.dependents)
			got := "nothing"
			if a.trim {
				var kept []types.UID
				for _, ref := range a.keep {
					kept = append(kept, ref.UID)
				}
				got = fmt.Sprint("keep ", kept)
			}
			if a.remove {
				got = "delete " + string(a.policy)
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestAbsenteesAreBounded(t *testing.T) {
	a := newAbsentees(3)
	id := func(n int) identity { return identity{uid: fmt.Sprint(n)} }
	for n := range 5 {
		a.add(id(n))
		a.add(id(n))
		require.True(t, a.has(id(n)))
	}
	require.Len(t, a.known, 3)
	require.False(t, a.has(id(1)))
	require.True(t, a.has(id(2)))
}
