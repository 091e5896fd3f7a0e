package apiserver_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// applying is a server-side apply of a manifest, whose name and namespace are lobby and default unless a case says otherwise.
func applying(k *kind.Kind, sub, manager, manifest string, opts ...client.Option) *client.Request {
	req := &client.Request{
		Verb: client.Patch, Kind: k, Subresource: sub, Namespace: "default", Name: "lobby",
		PatchType: types.ApplyYAMLPatchType, PatchData: []byte(manifest), FieldManager: manager,
	}
	for _, o := range opts {
		o(req)
	}
	return req
}

// owners are the sets of an object's managed fields by manager, operation and subresource.
func owners(obj kind.Instance) map[string]string {
	out := map[string]string{}
	for _, e := range obj.GetManagedFields() {
		name := e.Manager + " " + string(e.Operation)
		if e.Subresource != "" {
			name += " " + e.Subresource
		}
		out[name] = e.FieldsV1.GetRawString()
	}
	return out
}

const fleetHead = "apiVersion: games.example.com/v1\nkind: Fleet\nmetadata: {name: lobby, namespace: default}\n"

func TestApply(t *testing.T) {
	_, c := start(t)
	ctx := t.Context()
	apply := func(sub, manager, manifest string, opts ...client.Option) (*fleet, error) {
		resp, err := c.Do(ctx, applying(fleets.Kind(), sub, manager, fleetHead+manifest, opts...))
		if err != nil {
			return nil, err
		}
		return resp.Object.(*fleet), nil
	}

	resp, err := c.Do(ctx, applying(fleets.Kind(), "", "one", fleetHead+"spec: {size: 2}"))
	require.NoError(t, err)
	require.True(t, resp.Created)
	f := resp.Object.(*fleet)
	require.NotEmpty(t, f.UID)
	require.Equal(t, "default", f.Spec.Image)
	require.Equal(t, map[string]string{"one Apply": `{"f:spec":{"f:size":{}}}`}, owners(f), "a default has no owner")

	same, err := apply("", "one", "spec: {size: 2}")
	require.NoError(t, err)
	require.Same(t, f, same, "nothing changes")

	_, err = apply("", "two", "spec: {size: 3}")
	require.True(t, apierrors.IsConflict(err), err)
	require.EqualError(t, err, `Apply failed with 1 conflict: conflict with "one": .spec.size`)
	details := err.(apierrors.APIStatus).Status().Details
	require.Equal(t, []metav1.StatusCause{{Type: metav1.CauseTypeFieldManagerConflict, Message: `conflict with "one"`, Field: ".spec.size"}}, details.Causes)

	f, err = apply("", "two", "spec: {size: 2, image: i1}")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"one Apply": `{"f:spec":{"f:size":{}}}`, "two Apply": `{"f:spec":{"f:image":{},"f:size":{}}}`}, owners(f))
	require.EqualValues(t, 2, f.Generation)

	f, err = apply("", "two", "spec: {size: 3, image: i1}", client.Force())
	require.NoError(t, err)
	require.Equal(t, map[string]string{"two Apply": `{"f:spec":{"f:image":{},"f:size":{}}}`}, owners(f))

	f, err = apply("", "two", "spec: {size: 3}")
	require.NoError(t, err)
	require.Equal(t, "default", f.Spec.Image, "a field that its only manager drops is removed, and then defaulted")

	f, err = client.For(c, fleets).Mutate(ctx, "default", "lobby", func(f *fleet) error { f.Spec.Size = 4; return nil }, client.ManagedBy("three"))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"three Update": `{"f:spec":{"f:size":{}}}`}, owners(f), "an update takes what it changes")
	_, err = apply("", "two", "spec: {size: 3}")
	require.EqualError(t, err, `Apply failed with 1 conflict: conflict with "three" using games.example.com/v1: .spec.size`)

	f, err = apply("status", "agent", "status: {ready: 2}")
	require.NoError(t, err)
	require.EqualValues(t, 2, f.Status.Ready)
	require.Equal(t, `{"f:status":{"f:ready":{}}}`, owners(f)["agent Apply status"])
	f, err = apply("", "four", "metadata: {name: lobby, labels: {a: b}}\nstatus: {ready: 7}")
	require.Error(t, err, "a key is there twice")
	require.True(t, apierrors.IsBadRequest(err))
	resp, err = c.Do(ctx, applying(fleets.Kind(), "", "four", `{"apiVersion":"games.example.com/v1","kind":"Fleet","metadata":{"name":"lobby","labels":{"a":"b"}},"status":{"ready":7}}`))
	require.NoError(t, err)
	f = resp.Object.(*fleet)
	require.EqualValues(t, 2, f.Status.Ready, "status is written through /status only")
	require.Equal(t, `{"f:metadata":{"f:labels":{"f:a":{}}}}`, owners(f)["four Apply"])
	_, err = apply("status", "agent", "spec: {size: 9}\nstatus: {ready: 3}")
	require.NoError(t, err)
	f, err = client.For(c, fleets).Get(ctx, "default", "lobby")
	require.NoError(t, err)
	require.EqualValues(t, 4, f.Spec.Size)
}

func TestApplyRefuses(t *testing.T) {
	_, c := start(t)
	ctx := t.Context()
	_, err := c.Do(ctx, applying(fleets.Kind(), "", "one", fleetHead+"spec: {size: 2}"))
	require.NoError(t, err)
	const head = `{"apiVersion":"games.example.com/v1","kind":"Fleet","metadata":{"name":"lobby"`
	for name, tc := range map[string]struct {
		manifest string
		change   client.Option
		want     metav1.StatusReason
		text     string
	}{
		"no manager":     {head + `}}`, client.ManagedBy(""), metav1.StatusReasonInvalid, "fieldManager: Required value: is required for apply patch"},
		"bad manager":    {head + `}}`, client.ManagedBy("a\tb"), metav1.StatusReasonInvalid, "invalid character U+0009 (at position 1)"},
		"empty":          {``, nil, metav1.StatusReasonBadRequest, "empty"},
		"garbage":        {`{`, nil, metav1.StatusReasonBadRequest, "error decoding patch"},
		"a list":         {`[]`, nil, metav1.StatusReasonBadRequest, "error decoding patch"},
		"no kind":        {`{"metadata":{"name":"lobby"}}`, nil, metav1.StatusReasonBadRequest, "invalid object type"},
		"version":        {`{"apiVersion":"games.example.com/v2","kind":"Fleet"}`, nil, metav1.StatusReasonBadRequest, "v2"},
		"unknown field":  {head + `},"spec":{"sise":1}}`, nil, metav1.StatusReasonBadRequest, ".spec.sise: field not declared in schema"},
		"wrong type":     {head + `},"spec":{"size":"x"}}`, nil, metav1.StatusReasonBadRequest, `.spec.size: expected numeric (int or float), got string`},
		"duplicate":      {"spec: {}\n" + fleetHead + "spec: {}", nil, metav1.StatusReasonBadRequest, "error strict decoding patch"},
		"stale":          {head + `,"resourceVersion":"1"},"spec":{"size":3}}`, nil, metav1.StatusReasonConflict, "the object has been modified; please apply your changes to the latest version and try again"},
		"another uid":    {head + `,"uid":"x"}}`, nil, metav1.StatusReasonInvalid, "metadata.uid: Invalid value: \"x\": field is immutable"},
		"uid of nothing": {`{"apiVersion":"games.example.com/v1","kind":"Fleet","metadata":{"uid":"x"}}`, func(r *client.Request) { r.Name = "none" }, metav1.StatusReasonConflict, "uid mismatch: the provided object specified uid x, and no existing object was found"},
		"another name":   {head + `}}`, func(r *client.Request) { r.Name = "other" }, metav1.StatusReasonBadRequest, "the name of the object (lobby) does not match the name on the URL (other)"},
		"namespace":      {head + `,"namespace":"x"}}`, nil, metav1.StatusReasonBadRequest, "the namespace of the provided object does not match the namespace sent on the request"},
		"managed fields": {head + `,"managedFields":[{"manager":"x"}]}}`, nil, metav1.StatusReasonBadRequest, "metadata.managedFields must be nil"},
		"invalid":        {head + `},"spec":{"size":-1}}`, nil, metav1.StatusReasonInvalid, "spec.size: Invalid value: -1: must not be negative"},
		"status of none": {head + `}}`, func(r *client.Request) { r.Subresource, r.Name = "status", "none" }, metav1.StatusReasonNotFound, ""},
		"force elsewhere": {`{}`, func(r *client.Request) { r.PatchType, r.Force = types.MergePatchType, true }, metav1.StatusReasonInvalid,
			"force: Forbidden: may not be specified for non-apply patch"},
	} {
		t.Run(name, func(t *testing.T) {
			req := applying(fleets.Kind(), "", "one", tc.manifest)
			if tc.change != nil {
				tc.change(req)
			}
			_, err := c.Do(ctx, req)
			require.Equal(t, tc.want, reason(err), "%v", err)
			require.ErrorContains(t, err, tc.text)
		})
	}
	f, err := client.For(c, fleets).Get(ctx, "default", "lobby")
	require.NoError(t, err)
	require.EqualValues(t, 2, f.Spec.Size)
}

func TestApplyMergesLists(t *testing.T) {
	_, c := start(t)
	ctx := t.Context()
	apply := func(manager, spec string, opts ...client.Option) *corev1.Pod {
		manifest := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: lobby\n  finalizers: [example.com/" + manager + "]\n" + spec
		resp, err := c.Do(ctx, applying(pods.Kind(), "", manager, manifest, opts...))
		require.NoError(t, err)
		return resp.Object.(*corev1.Pod)
	}
	apply("one", "spec: {containers: [{name: a, image: i1, ports: [{containerPort: 80}]}], nodeSelector: {disk: ssd}}")
	p := apply("two", "spec: {containers: [{name: b, image: i2}, {name: a, image: i1}]}")
	require.Equal(t, []string{"b", "a"}, []string{p.Spec.Containers[0].Name, p.Spec.Containers[1].Name})
	require.ElementsMatch(t, []string{"example.com/one", "example.com/two"}, p.Finalizers, "a set")
	require.Equal(t, `{"f:metadata":{"f:finalizers":{"v:\"example.com/two\"":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:image":{},"f:name":{}},"k:{\"name\":\"b\"}":{".":{},"f:image":{},"f:name":{}}}}}`, owners(p)["two Apply"])
	require.Contains(t, owners(p)["one Apply"], `"f:containerPort":{}`)

	p = apply("one", "spec: {containers: [], nodeSelector: {disk: ssd}}")
	require.Len(t, p.Spec.Containers, 2, "two still wants the container a")
	require.Empty(t, p.Spec.Containers[1].Ports, "which nobody gives ports any more")
	p = apply("two", "spec: {containers: [{name: b, image: i2}]}")
	require.Len(t, p.Spec.Containers, 1)
}

func TestApplyScale(t *testing.T) {
	_, c := start(t)
	ctx := t.Context()
	_, err := c.Do(ctx, applying(fleets.Kind(), "", "one", fleetHead+"spec: {size: 2}"))
	require.NoError(t, err)
	const scale = `{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"lobby"},"spec":{"replicas":3}}`
	_, err = c.Do(ctx, applying(fleets.Kind(), "scale", "two", scale))
	require.EqualError(t, err, `Apply failed with 1 conflict: conflict with "one": .spec.replicas`)
	resp, err := c.Do(ctx, applying(fleets.Kind(), "scale", "two", scale, client.Force()))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"two Apply scale": `{"f:spec":{"f:replicas":{}}}`}, owners(resp.Object))
	f, err := client.For(c, fleets).Get(ctx, "default", "lobby")
	require.NoError(t, err)
	require.EqualValues(t, 3, f.Spec.Size)
	require.Equal(t, map[string]string{"two Apply scale": `{"f:spec":{"f:size":{}}}`}, owners(f))

	require.NoError(t, client.For(c, fleets).Scale(ctx, "default", "lobby", 5, client.ManagedBy("three")))
	f, err = client.For(c, fleets).Get(ctx, "default", "lobby")
	require.NoError(t, err)
	require.EqualValues(t, 5, f.Spec.Size)
	require.Equal(t, map[string]string{"three Update scale": `{"f:spec":{"f:size":{}}}`}, owners(f))
}

func TestManagedFieldsOfWrites(t *testing.T) {
	_, c := start(t)
	ctx, typed := t.Context(), client.For(c, fleets)
	f, err := typed.Create(ctx, newFleet("lobby", 1), client.ManagedBy("maker"))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"maker Update": `{"f:spec":{"f:image":{},"f:size":{}}}`}, owners(f))
	e := f.ManagedFields[0]
	require.Equal(t, "games.example.com/v1", e.APIVersion)
	require.Equal(t, "FieldsV1", e.FieldsType)
	require.True(t, e.Time.Equal(&f.CreationTimestamp) || e.Time.After(f.CreationTimestamp.Time))
	require.Zero(t, e.Time.Nanosecond())

	f, err = typed.Patch(ctx, "default", "lobby", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}},"spec":{"size":2}}`), client.ManagedBy("patcher"))
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"maker Update":   `{"f:spec":{"f:image":{}}}`,
		"patcher Update": `{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:size":{}}}`,
	}, owners(f))

	f, err = typed.MutateStatus(ctx, "default", "lobby", func(f *fleet) error { f.Status.Ready = 1; return nil }, client.ManagedBy("agent"))
	require.NoError(t, err)
	require.Equal(t, `{"f:status":{"f:ready":{}}}`, owners(f)["agent Update status"])

	same, err := typed.Update(ctx, f, client.ManagedBy("nobody"))
	require.NoError(t, err)
	require.Same(t, f, same, "who changes nothing owns nothing")

	for name, reset := range map[string][]metav1.ManagedFieldsEntry{"emptied": {}, "an empty entry": {{}}} {
		t.Run(name, func(t *testing.T) {
			f, err := typed.Get(ctx, "default", "lobby")
			require.NoError(t, err)
			f = fleets.Copy(f)
			f.ManagedFields = reset
			f, err = typed.Update(ctx, f)
			require.NoError(t, err)
			require.Empty(t, f.ManagedFields)
			f = fleets.Copy(f)
			f.Spec.Size++
			f, err = typed.Update(ctx, f)
			require.NoError(t, err)
			require.Empty(t, f.ManagedFields, "from then on they are not kept")
			resp, err := c.Do(ctx, applying(fleets.Kind(), "", "one", fleetHead+"spec: {image: i2}", client.Force()))
			require.NoError(t, err)
			require.Contains(t, owners(resp.Object), "before-first-apply Update", "until somebody applies")
		})
	}
}

func TestUnreadableManagedFieldsChangeNothing(t *testing.T) {
	_, c := start(t)
	ctx, typed := t.Context(), client.For(c, fleets)
	f, err := typed.Create(ctx, newFleet("lobby", 1), client.ManagedBy("maker"))
	require.NoError(t, err)
	want := owners(f)
	for name, fields := range map[string]string{
		"no JSON": `{`, "a list": `[]`, "a number": `7`, "an element of nothing": `{"f:a":{"x":{}}}`, "a key that is none": `{"k:{":{}}`,
	} {
		t.Run(name, func(t *testing.T) {
			f := fleets.Copy(f)
			f.Annotations = map[string]string{"n": name}
			f.ResourceVersion = ""
			f.ManagedFields[0].FieldsV1 = &metav1.FieldsV1{}
			f.ManagedFields[0].FieldsV1.SetRawBytes([]byte(fields))
			got, err := typed.Update(ctx, f, client.ManagedBy("maker"))
			require.NoError(t, err)
			require.Contains(t, owners(got)["maker Update"], want["maker Update"][1:len(want["maker Update"])-1])
		})
	}
}

func TestDryRunApplyStoresNothing(t *testing.T) {
	_, c := start(t)
	ctx := t.Context()
	resp, err := c.Do(ctx, applying(fleets.Kind(), "", "one", fleetHead+"spec: {size: 2}", client.DryRun()))
	require.NoError(t, err)
	require.True(t, resp.Created)
	data, err := json.Marshal(resp.Object)
	require.NoError(t, err)
	require.Contains(t, string(data), `"manager":"one"`)
	_, err = client.For(c, fleets).Get(ctx, "default", "lobby")
	require.True(t, apierrors.IsNotFound(err))
}
