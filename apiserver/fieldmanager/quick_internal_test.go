package fieldmanager

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// TestQuickIsTheGeneral writes random objects of every built-in kind in random ways, each write once the quick way and once upstream's:
// their outcomes are the same, byte for byte.
func TestQuickIsTheGeneral(t *testing.T) {
	quick, general := 0, 0
	for _, k := range builtin.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, g := testQuick(t, k)
				quick, general = quick+q, general+g
			})
		})
	}
	require.Greater(t, quick, 5*general, "the quick way is taken: %d times, %d not", quick, general)
}

// TestPodsWithPortsAreQuick: the schema gives a port's key a default that is a number.
func TestPodsWithPortsAreQuick(t *testing.T) {
	kinds := builtin.Kinds()
	k := kinds[slices.IndexFunc(kinds, func(k *kind.Kind) bool { return k.Is(kind.Pod.Kind()) })]
	require.NoError(t, k.Complete())
	m := New(func() []*kind.Kind { return []*kind.Kind{k} })
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "b", UID: "1"}}
	k.Stamp(pod)
	pod.Spec.Containers = []corev1.Container{{Name: "main", Ports: []corev1.ContainerPort{{ContainerPort: 80}, {ContainerPort: 53, Protocol: corev1.ProtocolUDP}}}}
	k.Default(pod)
	require.True(t, m.quick(k, "", nil, pod, "m"))
	require.Contains(t, string(pod.ManagedFields[0].FieldsV1.GetRawBytes()), `"k:{\"containerPort\":80,\"protocol\":\"TCP\"}"`)
	changed := pod.DeepCopy()
	changed.Spec.Containers[0].Ports[1].ContainerPort = 54
	require.True(t, m.quick(k, "", pod, changed, "m"))
	general := pod.DeepCopy()
	general.Spec.Containers[0].Ports[1].ContainerPort = 54
	require.NoError(t, m.update(t.Context(), k, "", pod, general, "m"))
	require.Equal(t, string(general.ManagedFields[0].FieldsV1.GetRawBytes()), string(changed.ManagedFields[0].FieldsV1.GetRawBytes()))
}

func testQuick(t *testing.T, k *kind.Kind) (quick, general int) {
	require.NoError(t, k.Complete())
	m := New(func() []*kind.Kind { return []*kind.Kind{k} })
	for seed := range uint64(14) {
		random := rand.New(rand.NewPCG(seed, 1))
		var live kind.Instance
		for step := range 8 {
			time.Sleep(time.Duration(random.IntN(3)) * time.Second)
			obj := next(k, random, live)
			sub := ""
			if live != nil && k.Status && random.IntN(2) == 0 {
				sub = subStatus
				kept := k.Copy(live)
				kind.SetStatus(kept, obj)
				kept.SetLabels(obj.GetLabels())
				obj = kept
			} else if live != nil && k.Status {
				kind.SetStatus(obj, k.Copy(live))
			}
			manager := fmt.Sprintf("m%d", random.IntN(3))
			if live == nil || random.IntN(2) == 0 {
				obj.SetManagedFields(nil)
			}
			slow := k.Copy(obj)
			var was kind.Instance
			if live != nil {
				was = k.Copy(live)
			}
			if m.quick(k, sub, live, obj, manager) {
				quick++
			} else {
				general++
				m.Update(t.Context(), k, sub, live, obj, manager)
			}
			require.Equal(t, was, live, "live is not changed")
			if err := m.update(t.Context(), k, sub, live, slow, manager); err != nil {
				slow.SetManagedFields(nil)
				if live != nil {
					slow.SetManagedFields(copyEntries(live.GetManagedFields()))
				}
			}
			require.Equal(t, printed(slow), printed(obj), "seed %d, step %d, %s %q", seed, step, manager, sub)
			live = obj
			live.SetUID("1")
		}
	}
	return quick, general
}

func printed(obj kind.Instance) string {
	var out strings.Builder
	for _, e := range obj.GetManagedFields() {
		fmt.Fprintf(&out, "%s %s %s %s %v\n%s\n", e.Manager, e.Operation, e.APIVersion, e.Subresource, e.Time, rawOf(e))
	}
	return out.String()
}

// fill makes random values. Lists are short and words few, so that keys meet.
func fill(v reflect.Value, random *rand.Rand, depth int) {
	switch p := v.Addr().Interface().(type) {
	case *resource.Quantity:
		*p = *resource.NewMilliQuantity(random.Int64N(4)*500, resource.DecimalSI)
		return
	case *metav1.Time:
		*p = metav1.Unix(random.Int64N(3), 0)
		return
	case *metav1.MicroTime:
		*p = metav1.NewMicroTime(time.Unix(random.Int64N(3), 0))
		return
	case *intstr.IntOrString:
		*p = intstr.FromInt32(random.Int32N(2))
		if random.IntN(2) == 0 {
			*p = intstr.FromString("a")
		}
		return
	case *runtime.RawExtension, *metav1.FieldsV1:
		return
	}
	switch v.Kind() {
	case reflect.String:
		words := []string{"", "a", "b", "c", "d.e"}
		if v.SetString(words[random.IntN(len(words))]); random.IntN(500) == 0 {
			v.SetString("\u00e9\"<")
		}
	case reflect.Bool:
		v.SetBool(random.IntN(2) == 0)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt([]int64{0, 1, 2, 80, 443}[random.IntN(5)])
	case reflect.Uint8:
		v.SetUint(random.Uint64N(2))
	case reflect.Pointer:
		if depth > 0 && random.IntN(3) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), random, depth-1)
		}
	case reflect.Slice:
		n := []int{0, 0, 0, 0, 1, 1, 2, 3}[random.IntN(8)]
		if depth <= 0 || n == 0 {
			if random.IntN(4) == 0 {
				v.Set(reflect.MakeSlice(v.Type(), 0, 0))
			}
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(v.Index(i), random, depth-1)
			for f := range min(3, fieldsOfStruct(v.Index(i))) { // which the keys are among: different, but for a few
				if f := v.Index(i).Field(f); f.CanSet() && f.Kind() == reflect.String && random.IntN(100) > 0 {
					f.SetString(fmt.Sprint("k", i+random.IntN(2)*3))
				}
			}
			if v.Index(i).Kind() == reflect.String {
				v.Index(i).SetString(fmt.Sprint("v", i))
			}
		}
	case reflect.Map:
		if random.IntN(2) == 0 {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for range random.IntN(3) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, random, depth-1)
			fill(value, random, depth-1)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && random.IntN(3) > 0 {
				fill(v.Field(i), random, depth)
			}
		}
	}
}

func fieldsOfStruct(v reflect.Value) int {
	if v.Kind() != reflect.Struct {
		return 0
	}
	return v.NumField()
}

// next is a new object, or live with something changed.
func next(k *kind.Kind, random *rand.Rand, live kind.Instance) kind.Instance {
	obj := k.New()
	fill(reflect.ValueOf(obj).Elem(), random, 10)
	k.Stamp(obj)
	obj.SetManagedFields(nil)
	if live == nil || random.IntN(4) == 0 {
		if live != nil {
			obj.SetManagedFields(copyEntries(live.GetManagedFields()))
			obj.SetUID(live.GetUID())
		} else {
			obj.SetUID("")
		}
		return roundTrip(k, obj)
	}
	changed := k.Copy(live)
	from, to := reflect.ValueOf(obj).Elem(), reflect.ValueOf(changed).Elem()
	for i := range to.NumField() {
		if name := to.Type().Field(i).Name; name != "TypeMeta" && name != "ObjectMeta" && random.IntN(2) == 0 {
			mix(to.Field(i), from.Field(i), random)
		}
	}
	if random.IntN(2) == 0 {
		changed.SetLabels(obj.GetLabels())
	}
	if random.IntN(4) == 0 {
		changed.SetFinalizers(obj.GetFinalizers())
	}
	return roundTrip(k, changed)
}

// mix takes over some of from's fields.
func mix(to, from reflect.Value, random *rand.Rand) {
	if to.Kind() != reflect.Struct {
		to.Set(from)
		return
	}
	for i := range to.NumField() {
		if to.Type().Field(i).IsExported() && random.IntN(3) == 0 {
			mix(to.Field(i), from.Field(i), random)
		}
	}
}

// roundTrip is the object as it comes from a client: what JSON leaves out is not there.
func roundTrip(k *kind.Kind, obj kind.Instance) kind.Instance {
	data, err := k.EncodeJSON(obj)
	if err != nil {
		return obj
	}
	out, err := k.DecodeJSON(data, false)
	if err != nil {
		return obj
	}
	return out
}

func TestTreesAreFieldpathSets(t *testing.T) {
	for _, raw := range []string{
		`{}`, `{"f:a":{}}`, `{"f:a":{".":{},"f:b":{}}}`, `{"f:m":{"k:{\"name\":\"x\"}":{".":{},"f:name":{}},"k:{\"name\":\"y\"}":{}},"f:s":{"v:\"q\"":{},"v:7":{}}}`,
	} {
		parsed, err := parse([]byte(raw))
		require.NoError(t, err)
		require.Equal(t, raw, string(parsed.json(nil)))
	}
	for _, raw := range []string{``, `{`, `[]`, `{"f:a"}`, `{"f:a":7}`, `{"f:a":{}`, `{"f:a":{}}x`, `{ "f:a":{}}`, `{"f:\u0061":{}}`, `{"f:a":{".":7}}`, strings.Repeat(`{"f:a":`, 1000)} {
		_, err := parse([]byte(raw))
		require.ErrorIs(t, err, errNotPlain, raw)
	}
}

func FuzzParseSet(f *testing.F) {
	f.Add([]byte(`{"f:a":{".":{},"k:{\"name\":\"x\"}":{}}}`))
	f.Add([]byte(`{"f:b":{},"f:a":{}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if parsed, err := parse(raw); err == nil {
			if again, err := parse(parsed.json(nil)); err != nil || !bytes.Equal(again.json(nil), parsed.json(nil)) {
				t.Fatalf("%q is written as %q", raw, parsed.json(nil))
			}
		}
		entry := metav1.ManagedFieldsEntry{FieldsV1: &metav1.FieldsV1{}}
		entry.FieldsV1.SetRawBytes(raw)
		_, _ = ordered([]metav1.ManagedFieldsEntry{entry})
	})
}

// TestShapes tells which fields of the built-in kinds are left to structured-merge-diff: those that may hold anything.
func TestShapes(t *testing.T) {
	var found []string
	for _, k := range builtin.Kinds() {
		require.NoError(t, k.Complete())
		made, err := newTypes(k)
		require.NoError(t, err)
		seen := map[*shape]bool{}
		var walk func(s *shape, path string)
		walk = func(s *shape, path string) {
			if seen[s] {
				return
			}
			seen[s] = true
			if s.form == strange && !strings.HasSuffix(path, "managedFields[].fieldsV1") { // which nobody manages
				found = append(found, path)
			}
			for _, f := range s.fields {
				walk(f.shape, path+"."+f.name)
			}
			if s.elem != nil {
				walk(s.elem, path+"[]")
			}
		}
		walk(made.shape, k.Name)
	}
	require.Equal(t, []string{
		"ControllerRevision.data", "DeviceClass.spec.config[].opaque.parameters", "ResourceClaim.spec.devices.config[].opaque.parameters",
		"ResourceClaimTemplate.spec.spec.devices.config[].opaque.parameters",
	}, found)
}
