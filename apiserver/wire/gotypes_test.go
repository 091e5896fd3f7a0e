package wire

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// filler puts text everywhere, and text that is none in one place.
type filler struct{ seen, bad int }

func (f *filler) text() string {
	f.seen++
	if f.seen-1 == f.bad {
		return "\xff"
	}
	return "a"
}

func (f *filler) fill(v reflect.Value, depth int) {
	if depth > 20 {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(f.text())
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				f.fill(v.Field(i), depth+1)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		f.fill(v.Index(0), depth+1)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		f.fill(key, depth+1)
		f.fill(value, depth+1)
		v.SetMapIndex(key, value)
	}
}

// TestNoTextIsOverlooked puts text that is not UTF-8 into every place of a few kinds, one at a time.
func TestNoTextIsOverlooked(t *testing.T) {
	var g goTypes
	for _, obj := range []any{
		&corev1.Pod{}, &appsv1.Deployment{}, &authenticationv1.TokenReview{}, &admissionregistrationv1.ValidatingWebhookConfiguration{},
		&metav1.Status{}, &tree{}, // which contain themselves
	} {
		places := 1
		for bad := -1; bad < places; bad++ {
			f := &filler{bad: bad}
			v := reflect.New(reflect.TypeOf(obj).Elem())
			f.fill(v.Elem(), 0)
			places = f.seen
			if err := g.checkStrings(v); bad < 0 {
				require.NoError(t, err, "%T", obj)
			} else {
				require.ErrorIs(t, err, errNotText, "%T, place %d of %d", obj, bad, places)
			}
		}
		require.Greater(t, places, 3, "%T", obj)
	}
	inside := corev1.ConfigMap{Data: map[string]string{"a": "\xff"}}
	require.ErrorIs(t, g.checkStrings(reflect.ValueOf(&runtime.RawExtension{Object: &inside})), errNotText)
	require.NoError(t, g.checkStrings(reflect.ValueOf(&runtime.RawExtension{Raw: []byte("\xff")})))
}

// tree comes to itself before it comes to text.
type tree struct {
	Left  *tree
	Other []branch
	Name  string
}

type branch struct {
	Trees map[string]tree
	Count int
}

func TestMessageFieldsOfPod(t *testing.T) {
	var g goTypes
	pod := g.of(reflect.TypeFor[corev1.Pod]())
	require.Equal(t, reflect.TypeFor[metav1.ObjectMeta](), pod.messages[1])
	require.Equal(t, reflect.TypeFor[corev1.PodSpec](), pod.messages[2])
	require.Equal(t, reflect.TypeFor[corev1.Container](), g.of(pod.messages[2]).messages[2])
	require.NotContains(t, g.of(pod.messages[1]).messages, 1, "a name is no message")
	require.Same(t, pod, g.of(reflect.TypeFor[corev1.Pod]()), "found out once")
}

func BenchmarkChecksOfProtobuf(b *testing.B) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "b", Labels: map[string]string{"a": "b", "c": "d"}}}
	for range 3 {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
			Name: "main", Image: "registry.example.com/a:1", Env: []corev1.EnvVar{{Name: "A", Value: "B"}, {Name: "C", Value: "D"}},
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
		})
	}
	raw, err := pod.Marshal()
	require.NoError(b, err)
	var g goTypes
	b.ReportAllocs()
	for b.Loop() {
		if err := g.checkProtobuf(reflect.TypeFor[corev1.Pod](), raw); err != nil {
			b.Fatal(err)
		}
		if err := g.checkStrings(reflect.ValueOf(pod)); err != nil {
			b.Fatal(err)
		}
	}
}
