package apiserver

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestStrategicMerge(t *testing.T) {
	for name, tc := range map[string]struct{ doc, patch, want string }{
		"scalars and maps": {
			`{"metadata":{"labels":{"a":"1","b":"2"}},"spec":{"nodeName":"n"}}`,
			`{"metadata":{"labels":{"a":"3","b":null,"c":"4"}},"spec":{"hostname":"h"}}`,
			`{"metadata":{"labels":{"a":"3","c":"4"}},"spec":{"nodeName":"n","hostname":"h"}}`,
		},
		"list by key": {
			`{"spec":{"containers":[{"name":"a","image":"1","env":[{"name":"X","value":"1"}]},{"name":"b","image":"1"}]}}`,
			`{"spec":{"containers":[{"name":"a","image":"2","env":[{"name":"Y","value":"2"}]},{"name":"c","image":"3","command":null}]}}`,
			`{"spec":{"containers":[{"name":"a","image":"2","env":[{"name":"X","value":"1"},{"name":"Y","value":"2"}]},{"name":"b","image":"1"},{"name":"c","image":"3"}]}}`,
		},
		"delete an item": {
			`{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}`,
			`{"spec":{"containers":[{"name":"a","$patch":"delete"}]}}`,
			`{"spec":{"containers":[{"name":"b"}]}}`,
		},
		"replace a list": {
			`{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}`,
			`{"spec":{"containers":[{"$patch":"replace"},{"name":"c"}]}}`,
			`{"spec":{"containers":[{"name":"c"}]}}`,
		},
		"list without a strategy": {
			`{"spec":{"containers":[{"name":"a","command":["x","y"]}]}}`,
			`{"spec":{"containers":[{"name":"a","command":["z"]}]}}`,
			`{"spec":{"containers":[{"name":"a","command":["z"]}]}}`,
		},
		"primitives": {
			`{"metadata":{"finalizers":["a/b","c/d"]}}`,
			`{"metadata":{"$deleteFromPrimitiveList/finalizers":["a/b"],"finalizers":["e/f"]}}`,
			`{"metadata":{"finalizers":["c/d","e/f"]}}`,
		},
		"order": {
			`{"spec":{"containers":[{"name":"a"},{"name":"own"},{"name":"b"}]}}`,
			`{"spec":{"$setElementOrder/containers":[{"name":"c"},{"name":"b"},{"name":"a"}],"containers":[{"name":"c"}]}}`,
			`{"spec":{"containers":[{"name":"own"},{"name":"c"},{"name":"b"},{"name":"a"}]}}`,
		},
		"retain keys": {
			`{"spec":{"volumes":[{"name":"v","emptyDir":{}}]}}`,
			`{"spec":{"volumes":[{"name":"v","$retainKeys":["name","hostPath"],"hostPath":{"path":"/x"}}]}}`,
			`{"spec":{"volumes":[{"name":"v","hostPath":{"path":"/x"}}]}}`,
		},
		"map directives": {
			`{"metadata":{"labels":{"a":"1"},"annotations":{"b":"1"}}}`,
			`{"metadata":{"labels":{"$patch":"replace","c":"1"},"annotations":{"$patch":"delete"}}}`,
			`{"metadata":{"labels":{"c":"1"},"annotations":{}}}`,
		},
		"large numbers": {`{"spec":{"activeDeadlineSeconds":9007199254740993}}`, `{}`, `{"spec":{"activeDeadlineSeconds":9007199254740993}}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := strategicMerge([]byte(tc.doc), []byte(tc.patch), &corev1.Pod{})
			require.NoError(t, err)
			if name == "large numbers" {
				require.Equal(t, tc.want, string(got))
			}
			require.JSONEq(t, tc.want, string(got))
		})
	}
	for _, bad := range []string{
		`{"spec":{"containers":[{"image":"x"}]}}`, `{"spec":{"containers":["x"]}}`, `{"$patch":"burn"}`,
		`{"$retainKeys":1}`, `{"metadata":{"$deleteFromPrimitiveList/finalizers":1}}`, `{"spec":{"$setElementOrder/containers":1}}`,
	} {
		_, err := strategicMerge([]byte(`{"spec":{"containers":[{"name":"a"}]},"metadata":{}}`), []byte(bad), &corev1.Pod{})
		require.Error(t, err, bad)
	}
}

func FuzzStrategicMerge(f *testing.F) {
	f.Add([]byte(`{"spec":{"containers":[{"name":"a","$patch":"delete"}],"$setElementOrder/containers":[{"name":"a"}]}}`))
	f.Add([]byte(`{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"],"$retainKeys":["x"]}}`))
	f.Fuzz(func(t *testing.T, patch []byte) {
		_, _ = strategicMerge([]byte(`{"spec":{"containers":[{"name":"a"},{"name":"b","env":[{"name":"x"}]}]},"metadata":{"finalizers":["a"]}}`), patch, &corev1.Pod{})
	})
}
