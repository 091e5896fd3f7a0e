package builtin_test

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// filler fills objects with random values, so that functions meet every combination of present and absent fields.
type filler struct{ *rand.Rand }

func (f filler) fill(v reflect.Value, depth int) {
	switch p := v.Addr().Interface().(type) {
	case *resource.Quantity:
		*p = *resource.NewMilliQuantity(f.Int64N(5000)-500, resource.DecimalSI)
		return
	case *metav1.Time:
		*p = metav1.Unix(f.Int64N(1<<31), 0)
		return
	case *metav1.MicroTime:
		*p = metav1.NewMicroTime(time.Unix(f.Int64N(1<<31), 0))
		return
	case *intstr.IntOrString:
		*p = intstr.FromInt32(f.Int32N(3))
		if f.IntN(2) == 0 {
			*p = intstr.FromString(f.word())
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(f.word())
	case reflect.Bool:
		v.SetBool(f.IntN(2) == 0)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(f.Int64N(4) - 1)
	case reflect.Uint8:
		v.SetUint(f.Uint64N(256))
	case reflect.Pointer:
		if depth > 0 && f.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			f.fill(v.Elem(), depth-1)
		}
	case reflect.Slice:
		if n := f.IntN(3); depth > 0 && n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				f.fill(v.Index(i), depth-1)
			}
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range f.IntN(3) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.fill(key, depth-1)
			f.fill(value, depth-1)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				f.fill(v.Field(i), depth)
			}
		}
	}
}

// word gives values that mean something somewhere, and others.
func (f filler) word() string {
	words := []string{"", "", "a", "web", "None", "ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "ClientIP", "Local", "RollingUpdate",
		"Recreate", "Always", "Never", "Indexed", "10.0.0.1", "::1", "127.0.0.1", "nginx:latest", "nginx@sha256:0", "TCP", "25%", "User", "x/y", "IPv4", "metadata.labels['a']", "\x00"}
	return words[f.IntN(len(words))]
}

func (f filler) object(k *kind.Kind) kind.Instance {
	obj := k.New()
	f.fill(reflect.ValueOf(obj).Elem(), 12)
	k.Stamp(obj)
	return obj
}

func TestDefaultTwiceIsDefaultOnce(t *testing.T) {
	for _, k := range builtin.Kinds() {
		if k.Default == nil {
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			for seed := range uint64(60) {
				obj := filler{rand.New(rand.NewPCG(seed, 1))}.object(k)
				k.Default(obj)
				again := k.Copy(obj)
				k.Default(again)
				require.Equal(t, obj, again, "seed %d", seed)
			}
		})
	}
}

// Whatever an object holds, no function panics, none but Default and Prepare changes it, and old stays as it is.
func TestAnyObjectIsSurvived(t *testing.T) {
	for _, k := range builtin.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			for seed := range uint64(30) {
				f := filler{rand.New(rand.NewPCG(seed, 2))}
				survive(t, k, f.object(k), nil)
				survive(t, k, f.object(k), f.object(k))
			}
		})
	}
}

func survive(t *testing.T, k *kind.Kind, obj, old kind.Instance) {
	t.Helper()
	var before kind.Instance
	if old != nil {
		before = k.Copy(old)
	}
	if k.Default != nil {
		k.Default(obj)
	}
	if k.Prepare != nil {
		k.Prepare(obj, old)
	}
	prepared := k.Copy(obj)
	if k.Validate != nil {
		k.Validate(obj, old)
	}
	if k.ValidateStatus != nil {
		k.ValidateStatus(obj, old)
	}
	if k.Warnings != nil {
		k.Warnings(obj, old)
	}
	if k.PrepareStatus != nil && old != nil {
		k.PrepareStatus(k.Copy(obj), old)
	}
	for _, part := range k.Parts {
		into := k.Copy(obj)
		part.Take(into, obj)
		part.Validate(into, obj)
	}
	if k.GracePeriod != nil {
		k.GracePeriod(obj, nil)
	}
	if k.Claims != nil {
		k.Claims(obj)
	}
	if k.Scale != nil {
		k.Scale.Get(obj)
	}
	for _, get := range k.Fields {
		get(obj)
	}
	for _, c := range k.Columns {
		c.Cell(obj, time.Unix(0, 0))
	}
	require.Equal(t, prepared, obj)
	require.Equal(t, before, old)
}
