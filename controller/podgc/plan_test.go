package podgc

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func TestJudge(t *testing.T) {
	ready, silent, off, back := kind.Node.New(), kind.Node.New(), kind.Node.New(), kind.Node.New()
	ready.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	silent.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}}
	off.Status.Conditions = silent.Status.Conditions
	off.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoExecute}}
	back.Status.Conditions, back.Spec.Taints = ready.Status.Conditions, off.Spec.Taints
	for _, c := range []struct {
		name           string
		bound, deleted bool
		finalizers     []string
		node           *corev1.Node
		want           verdict
	}{
		{name: "unbound", want: stays},
		{name: "unbound and deleted", deleted: true, want: goes},
		{name: "unbound, deleted, held", deleted: true, finalizers: []string{"a"}, want: stays},
		{name: "node missing", bound: true, want: orphaned},
		{name: "node missing, deleted", bound: true, deleted: true, want: orphaned},
		{name: "ready", bound: true, deleted: true, node: ready, want: stays},
		{name: "silent", bound: true, deleted: true, node: silent, want: stays},
		{name: "off, not deleted", bound: true, node: off, want: stays},
		{name: "off", bound: true, deleted: true, node: off, want: goes},
		{name: "back again", bound: true, deleted: true, node: back, want: stays},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := kind.Pod.New()
			p.Finalizers = c.finalizers
			if c.bound {
				p.Spec.NodeName = "node"
			}
			if c.deleted {
				p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
			}
			require.Equal(t, c.want, judge(p, c.node))
		})
	}
}

func TestSurplus(t *testing.T) {
	var pods []*corev1.Pod
	for n := range 5 {
		p := kind.Pod.New()
		p.Name, p.CreationTimestamp = fmt.Sprint(n), metav1.Unix(int64(100-n), 0)
		pods = append(pods, p)
	}
	pods[1].Status.Reason = "Evicted"
	var names []string
	for _, p := range surplus(pods, 2) {
		names = append(names, p.Name)
	}
	require.Equal(t, []string{"1", "4", "3"}, names)
	require.Empty(t, surplus(pods, 5))
	require.Empty(t, surplus(pods, -1))
	require.Len(t, surplus(pods, 0), 5)
}
