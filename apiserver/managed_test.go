package apiserver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
)

// TestHostileManagedFields sends managed fields that no server would write: those that cannot be read are as good as none, as upstream,
// and no number or order of elements takes long.
func TestHostileManagedFields(t *testing.T) {
	_, c := start(t)
	ctx, typed := t.Context(), client.For(c, fleets)
	first, err := typed.Create(ctx, newFleet("lobby", 1), client.ManagedBy("maker"))
	require.NoError(t, err)
	entry := func(fields string) metav1.ManagedFieldsEntry {
		e := metav1.ManagedFieldsEntry{Manager: "x", Operation: "Update", APIVersion: "games.example.com/v1", FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{}}
		e.FieldsV1.SetRawBytes([]byte(fields))
		return e
	}
	backwards := func(n int, element string) string {
		var b strings.Builder
		b.WriteString(`{"f:spec":{`)
		for i := n; i > 0; i-- {
			fmt.Fprintf(&b, element, i)
			if i > 1 {
				b.WriteByte(',')
			}
		}
		b.WriteString("}}")
		return b.String()
	}
	many := make([]metav1.ManagedFieldsEntry, 500)
	for i := range many {
		many[i] = entry(`{"f:spec":{"f:size":{}}}`)
		many[i].Manager = fmt.Sprint("m", i)
	}
	for name, tc := range map[string]struct {
		entries []metav1.ManagedFieldsEntry
		want    string // a manager that is there afterwards
	}{
		"fields, backwards":  {[]metav1.ManagedFieldsEntry{entry(backwards(10_000, `"f:%07d":{}`))}, "x Update"},
		"numbers, backwards": {[]metav1.ManagedFieldsEntry{entry(backwards(5_000, `"k:{\"n\":%d}":{}`))}, "x Update"},
		"deep":               {[]metav1.ManagedFieldsEntry{entry(strings.Repeat(`{"f:a":`, 9000) + "{}" + strings.Repeat("}", 9000))}, "maker Update"},
		"too deep":           {[]metav1.ManagedFieldsEntry{entry(strings.Repeat(`{"f:a":`, 200_000))}, "maker Update"},
		"no such operation":  {[]metav1.ManagedFieldsEntry{{Manager: "x", Operation: "Steal", APIVersion: "v1", FieldsType: "FieldsV1"}}, "maker Update"},
		"another type":       {[]metav1.ManagedFieldsEntry{{Manager: "x", Operation: "Apply", APIVersion: "v1", FieldsType: "FieldsV9"}}, "maker Update"},
		"unknown version":    {[]metav1.ManagedFieldsEntry{{Manager: "x", Operation: "Apply", APIVersion: "example.com/v7", FieldsType: "FieldsV1", FieldsV1: entry(`{"f:a":{}}`).FieldsV1}}, "test Update"},
		"hundreds":           {many, "test Update"},
	} {
		t.Run(name, func(t *testing.T) {
			f := fleets.Copy(first)
			f.Name, f.UID, f.ResourceVersion, f.ManagedFields = strings.NewReplacer(" ", "-", ",", "").Replace(name), "", "", nil
			f, err := typed.Create(ctx, f, client.ManagedBy("maker"))
			require.NoError(t, err)
			f = fleets.Copy(f)
			f.Spec.Size++
			f.ManagedFields = tc.entries
			f, err = typed.Update(ctx, f)
			require.NoError(t, err)
			require.Contains(t, owners(f), tc.want)
			require.LessOrEqual(t, len(f.ManagedFields), 11)
			_, err = c.Do(ctx, applying(fleets.Kind(), "", "applier", "{apiVersion: games.example.com/v1, kind: Fleet, spec: {size: 9}}", client.Force(),
				func(r *client.Request) { r.Name = f.Name }))
			require.NoError(t, err)
		})
	}

	big := newFleet("big", 1)
	big.Spec.Image = strings.Repeat("x", 3<<20-1000)
	big, err = typed.Create(ctx, big)
	require.NoError(t, err)
	big = fleets.Copy(big)
	big.ManagedFields = []metav1.ManagedFieldsEntry{entry(backwards(1000, `"f:%07d":{}`))}
	big, err = typed.Update(ctx, big)
	require.NoError(t, err)
	require.Empty(t, big.ManagedFields, "an object that is too large with its managed fields goes without")
}

// FuzzApply applies anything: what is refused is refused with a Status, and what is accepted is an object.
func FuzzApply(f *testing.F) {
	for _, seed := range []string{
		fleetHead + "spec: {size: 2}", `{"apiVersion":"games.example.com/v1","kind":"Fleet","metadata":{"labels":{"a":null}}}`,
		"a: &a [*a]", "? [1]\n: 2", "!!binary x", `{"apiVersion":"games.example.com/v1","kind":"Fleet","metadata":7,"spec":[]}`,
		fleetHead + "status: {ready: 1e99}", "apiVersion: games.example.com/v1\nkind: Fleet\nmetadata: {ownerReferences: [{uid: a}, {uid: a}]}",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	_, c := start(f)
	f.Fuzz(func(t *testing.T, data []byte, status bool) {
		sub := ""
		if status {
			sub = "status"
		}
		resp, err := c.Do(t.Context(), applying(fleets.Kind(), sub, "fuzz", string(data), client.Force()))
		if err == nil {
			if resp.Object.(*fleet).Name != "lobby" {
				t.Fatalf("made %q", resp.Object.GetName())
			}
			return
		}
		answer, ok := err.(apierrors.APIStatus)
		if !ok || answer.Status().Code < 400 || answer.Status().Code > 499 {
			t.Fatalf("%q: %v", data, err)
		}
	})
}
