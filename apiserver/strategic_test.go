package apiserver

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// TestStrategicMerge pins what the pipeline relies on in apimachinery's merge: lists by key, and numbers kept whole.
func TestStrategicMerge(t *testing.T) {
	for name, tc := range map[string]struct{ doc, patch, want string }{
		"list by key": {
			`{"spec":{"containers":[{"name":"a","image":"1"},{"name":"b","image":"1"}]}}`,
			`{"spec":{"containers":[{"name":"a","image":"2"}]}}`,
			`{"spec":{"containers":[{"image":"2","name":"a"},{"image":"1","name":"b"}]}}`,
		},
		"delete an item": {
			`{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}`,
			`{"spec":{"containers":[{"name":"a","$patch":"delete"}]}}`,
			`{"spec":{"containers":[{"name":"b"}]}}`,
		},
		"large numbers": {`{"spec":{"activeDeadlineSeconds":9007199254740993}}`, `{}`, `{"spec":{"activeDeadlineSeconds":9007199254740993}}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := strategicpatch.StrategicMergePatch([]byte(tc.doc), []byte(tc.patch), &corev1.Pod{})
			require.NoError(t, err)
			require.Equal(t, tc.want, string(got))
		})
	}
}

// FuzzStrategicMerge looks for patches that panic: the merge runs on what clients send.
func FuzzStrategicMerge(f *testing.F) {
	f.Add([]byte(`{"spec":{"containers":[{"name":"a","$patch":"delete"}],"$setElementOrder/containers":[{"name":"a"}]}}`))
	f.Add([]byte(`{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"],"$retainKeys":["x"]}}`))
	f.Fuzz(func(_ *testing.T, patch []byte) {
		_, _ = strategicpatch.StrategicMergePatch([]byte(`{"spec":{"containers":[{"name":"a"},{"name":"b","env":[{"name":"x"}]}]},"metadata":{"finalizers":["a"]}}`), patch, &corev1.Pod{})
	})
}
