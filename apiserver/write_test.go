package apiserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/admission"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

func reason(err error) metav1.StatusReason { return apierrors.ReasonForError(err) }

func TestCreate(t *testing.T) {
	s, c := start(t)
	ctx := t.Context()
	given := newFleet("lobby", 2)
	given.UID, given.Generation, given.Status.Ready = "mine", 7, 9
	given.CreationTimestamp = metav1.Now()
	given.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "x"}}
	keep := fleets.Copy(given)
	f, err := client.For(c, fleets).Create(ctx, given)
	require.NoError(t, err)
	require.Equal(t, keep, given, "the caller's object stays as it is")
	require.NotEqual(t, types.UID("mine"), f.UID)
	require.Len(t, f.UID, 36)
	require.Equal(t, int64(1), f.Generation)
	require.Equal(t, "default", f.Spec.Image)
	require.Zero(t, f.Status.Ready)
	require.Len(t, f.ManagedFields, 1, "what is unreadable counts as none")
	require.Equal(t, `{"f:spec":{"f:image":{},"f:size":{}}}`, f.ManagedFields[0].FieldsV1.GetRawString())
	require.Equal(t, "Fleet", f.Kind)

	kv, found, err := s.Store().Get(ctx, []byte("/registry/games.example.com/fleets/default/lobby"))
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, f.ResourceVersion, fmt.Sprint(kv.ModRevision))
	require.NotContains(t, string(kv.Value), "resourceVersion")

	_, err = client.For(c, fleets).Create(ctx, newFleet("lobby", 2))
	require.True(t, apierrors.IsAlreadyExists(err), err)

	got, err := client.For(c, fleets).Get(ctx, "default", "lobby")
	require.NoError(t, err)
	require.Same(t, f, got, "the cache adopts the writer's object")
}

func TestKeys(t *testing.T) {
	s, c := start(t)
	ctx := t.Context()
	do := func(k *kind.Kind, obj kind.Instance) {
		_, err := c.Do(ctx, &client.Request{Verb: client.Create, Kind: k, Object: obj})
		require.NoError(t, err)
	}
	do(kind.Pod.Kind(), newPod("p"))
	do(kind.Service.Kind(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}, Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.1"}})
	do(kind.Node.Kind(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: corev1.NodeStatus{Phase: "kept"}})
	n, err := client.For(c, kind.Node).Get(ctx, "", "n")
	require.NoError(t, err)
	require.EqualValues(t, "kept", n.Status.Phase, "a node agent registers with its status")
	for _, key := range []string{"/registry/pods/default/p", "/registry/services/specs/default/s", "/registry/minions/n", "/keelson/claims/ip/10.0.0.1"} {
		kv, found, err := s.Store().Get(ctx, []byte(key))
		require.NoError(t, err)
		require.True(t, found, key)
		if strings.HasPrefix(key, "/registry/") {
			require.True(t, strings.HasPrefix(string(kv.Value), kind.ProtobufPrefix))
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	_, c := start(t)
	long := strings.Repeat("x", 4<<20)
	for name, tc := range map[string]struct {
		req  client.Request
		want metav1.StatusReason
	}{
		"no object":          {client.Request{Kind: fleets.Kind(), Namespace: "default"}, metav1.StatusReasonBadRequest},
		"no kind":            {client.Request{Object: newFleet("a", 1)}, metav1.StatusReasonBadRequest},
		"unknown kind":       {client.Request{Kind: kind.Job.Kind(), Object: newFleet("a", 1)}, metav1.StatusReasonNotFound},
		"another type":       {client.Request{Kind: fleets.Kind(), Object: newPod("a")}, metav1.StatusReasonBadRequest},
		"another namespace":  {client.Request{Kind: fleets.Kind(), Namespace: "other", Object: newFleet("a", 1)}, metav1.StatusReasonBadRequest},
		"no namespace":       {client.Request{Kind: fleets.Kind(), Object: fleets.New()}, metav1.StatusReasonBadRequest},
		"cluster scope":      {client.Request{Kind: kind.Node.Kind(), Namespace: "default", Object: kind.Node.New()}, metav1.StatusReasonBadRequest},
		"another name":       {client.Request{Kind: fleets.Kind(), Name: "b", Object: newFleet("a", 1)}, metav1.StatusReasonBadRequest},
		"no name":            {client.Request{Kind: fleets.Kind(), Object: newFleet("", 1)}, metav1.StatusReasonInvalid},
		"bad name":           {client.Request{Kind: fleets.Kind(), Object: newFleet("No Name", 1)}, metav1.StatusReasonInvalid},
		"invalid":            {client.Request{Kind: fleets.Kind(), Object: newFleet("a", -1)}, metav1.StatusReasonInvalid},
		"too large":          {client.Request{Kind: kind.ConfigMap.Kind(), Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}, Data: map[string]string{"a": long}}}, metav1.StatusReasonRequestEntityTooLarge},
		"unknown subresouce": {client.Request{Kind: fleets.Kind(), Subresource: "token", Name: "a", Object: newFleet("a", 1)}, metav1.StatusReasonNotFound},
		"status":             {client.Request{Kind: fleets.Kind(), Subresource: "status", Name: "a", Object: newFleet("a", 1)}, metav1.StatusReasonMethodNotAllowed},
		"version": {client.Request{Kind: fleets.Kind(), Object: func() kind.Instance {
			f := newFleet("a", 1)
			f.ResourceVersion = "1"
			return f
		}()}, metav1.StatusReasonBadRequest},
		"owner": {client.Request{Kind: fleets.Kind(), Object: func() kind.Instance {
			f := newFleet("a", 1)
			f.OwnerReferences = []metav1.OwnerReference{{Name: "x"}}
			return f
		}()}, metav1.StatusReasonInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			tc.req.Verb = client.Create
			_, err := c.Do(t.Context(), &tc.req)
			require.Equal(t, tc.want, reason(err), "%v", err)
		})
	}
	_, err := client.For(c, fleets).Create(t.Context(), newFleet("No", -1))
	var st *apierrors.StatusError
	require.ErrorAs(t, err, &st)
	require.Len(t, st.ErrStatus.Details.Causes, 2)
	require.Equal(t, "games.example.com", st.ErrStatus.Details.Group)
}

func TestGenerateName(t *testing.T) {
	_, c := start(t)
	seen := map[string]bool{}
	for range 20 {
		f := newFleet("", 1)
		f.GenerateName = "lobby-"
		out, err := client.For(c, fleets).Create(t.Context(), f)
		require.NoError(t, err)
		require.Regexp(t, `^lobby-[a-z0-9]{5}$`, out.Name)
		require.False(t, seen[out.Name])
		seen[out.Name] = true
	}
}

func TestUpdate(t *testing.T) {
	_, c := start(t)
	ctx, typed := t.Context(), client.For(c, fleets)
	first, err := typed.Create(ctx, newFleet("lobby", 1))
	require.NoError(t, err)

	next := fleets.Copy(first)
	next.Spec.Size, next.Status.Ready = 2, 5
	second, err := typed.Update(ctx, next)
	require.NoError(t, err)
	require.Equal(t, int64(2), second.Generation)
	require.Zero(t, second.Status.Ready, "an update leaves the status alone")

	_, err = typed.Update(ctx, next)
	require.True(t, apierrors.IsConflict(err), err)

	labelled := newFleet("lobby", 2) // names no version: unconditional
	labelled.Labels = map[string]string{"a": "b"}
	third, err := typed.Update(ctx, labelled)
	require.NoError(t, err)
	require.Equal(t, int64(2), third.Generation, "metadata is no generation")
	require.Equal(t, first.UID, third.UID)
	require.Equal(t, first.CreationTimestamp, third.CreationTimestamp)

	same, err := typed.Update(ctx, third)
	require.NoError(t, err)
	require.Same(t, third, same, "nothing changed, nothing is written")

	st := fleets.Copy(third)
	st.Spec.Size, st.Status.Ready = 99, 2
	fourth, err := typed.UpdateStatus(ctx, st)
	require.NoError(t, err)
	require.Equal(t, int32(2), fourth.Spec.Size)
	require.Equal(t, int32(2), fourth.Status.Ready)
	require.Equal(t, int64(2), fourth.Generation)
	require.Equal(t, "b", fourth.Labels["a"])
	st.ResourceVersion, st.Status.Ready = "", -1
	_, err = typed.UpdateStatus(ctx, st)
	require.True(t, apierrors.IsInvalid(err), err)

	for name, change := range map[string]func(*fleet){
		"uid":      func(f *fleet) { f.UID = "other" },
		"deletion": func(f *fleet) { at := metav1.Unix(1, 0); f.DeletionTimestamp = &at },
		"grace":    func(f *fleet) { f.DeletionGracePeriodSeconds = new(int64) },
		"invalid":  func(f *fleet) { f.Spec.Size = -1 },
		"version":  func(f *fleet) { f.ResourceVersion = "01" },
	} {
		f := newFleet("lobby", 2)
		change(f)
		_, err := typed.Update(ctx, f)
		require.Contains(t, []metav1.StatusReason{metav1.StatusReasonInvalid, metav1.StatusReasonConflict}, reason(err), name)
	}
	born := newFleet("lobby", 2)
	born.CreationTimestamp, born.Generation = metav1.Unix(1, 0), 77
	fifth, err := typed.Update(ctx, born)
	require.NoError(t, err)
	require.Equal(t, first.CreationTimestamp, fifth.CreationTimestamp, "what the server sets is not the client's to say")
	require.Equal(t, int64(2), fifth.Generation)
	_, err = typed.Update(ctx, newFleet("gone", 1))
	require.True(t, apierrors.IsNotFound(err), err)
}

func TestWritersDoNotLoseUpdates(t *testing.T) {
	_, c := start(t)
	typed := client.For(c, fleets)
	_, err := typed.Create(t.Context(), newFleet("lobby", 0))
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if _, err := typed.Mutate(t.Context(), "default", "lobby", func(f *fleet) error { f.Spec.Size++; return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	f, err := typed.Get(t.Context(), "default", "lobby")
	require.NoError(t, err)
	require.Equal(t, int32(160), f.Spec.Size)
	require.Equal(t, int64(161), f.Generation)
}

func TestPatch(t *testing.T) {
	_, c := start(t)
	ctx, typed := t.Context(), client.For(c, fleets)
	_, err := typed.Create(ctx, newFleet("lobby", 1))
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		kind types.PatchType
		data string
		want metav1.StatusReason // empty: it works
	}{
		"json":               {types.JSONPatchType, `[{"op":"replace","path":"/spec/size","value":3}]`, ""},
		"json test fails":    {types.JSONPatchType, `[{"op":"test","path":"/spec/size","value":77}]`, metav1.StatusReasonInvalid},
		"json garbage":       {types.JSONPatchType, `{`, metav1.StatusReasonBadRequest},
		"json too long":      {types.JSONPatchType, "[" + strings.Repeat(`{"op":"test","path":"/kind","value":"Fleet"},`, 10_000) + `{"op":"test","path":"/kind","value":"Fleet"}]`, metav1.StatusReasonRequestEntityTooLarge},
		"merge":              {types.MergePatchType, `{"metadata":{"labels":{"x":"y"}}}`, ""},
		"merge garbage":      {types.MergePatchType, `[]`, metav1.StatusReasonBadRequest},
		"merge unknown":      {types.MergePatchType, `{"spec":{"sise":3}}`, metav1.StatusReasonInvalid},
		"merge wrong type":   {types.MergePatchType, `{"spec":{"size":"many"}}`, metav1.StatusReasonInvalid},
		"merge another kind": {types.MergePatchType, `{"kind":"Pod"}`, metav1.StatusReasonBadRequest},
		"stale":              {types.MergePatchType, `{"metadata":{"resourceVersion":"1"}}`, metav1.StatusReasonConflict},
		"uid":                {types.MergePatchType, `{"metadata":{"uid":"1"}}`, metav1.StatusReasonInvalid},
		"name":               {types.MergePatchType, `{"metadata":{"name":"other"}}`, metav1.StatusReasonBadRequest},
		"strategic":          {types.StrategicMergePatchType, `{}`, metav1.StatusReasonUnsupportedMediaType},
		"apply, no manager":  {types.ApplyYAMLPatchType, `{}`, metav1.StatusReasonInvalid},
		"unknown":            {"x/y", `{}`, metav1.StatusReasonUnsupportedMediaType},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := typed.Patch(ctx, "default", "lobby", tc.kind, []byte(tc.data))
			if tc.want == "" {
				require.NoError(t, err)
			} else {
				require.Equal(t, tc.want, reason(err), "%v", err)
			}
		})
	}
	f, err := typed.Get(ctx, "default", "lobby")
	require.NoError(t, err)
	require.Equal(t, int32(3), f.Spec.Size)
	require.Equal(t, "y", f.Labels["x"])

	resp, err := c.Do(ctx, &client.Request{Verb: client.Patch, Kind: fleets.Kind(), Namespace: "default", Name: "lobby",
		PatchType: types.MergePatchType, PatchData: []byte(`{"spec":{"sise":3}}`), FieldValidation: "Warn"})
	require.NoError(t, err)
	require.Contains(t, resp.Warnings[0], "sise")

	f, err = typed.Patch(ctx, "default", "lobby", types.MergePatchType, []byte(`{"spec":{"size":9},"status":{"ready":4}}`),
		func(r *client.Request) { r.Subresource = "status" })
	require.NoError(t, err)
	require.Equal(t, []int32{3, 4}, []int32{f.Spec.Size, f.Status.Ready})

	_, err = client.For(c, kind.Pod).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "1"}, {Name: "b", Image: "1"}}}})
	require.NoError(t, err)
	p, err := client.For(c, kind.Pod).Patch(ctx, "default", "p", types.StrategicMergePatchType, []byte(`{"spec":{"containers":[{"name":"b","image":"2"}]}}`))
	require.NoError(t, err)
	require.Equal(t, "1", p.Spec.Containers[0].Image)
	require.Equal(t, "2", p.Spec.Containers[1].Image)
}

func TestScale(t *testing.T) {
	_, c := start(t)
	ctx, typed := t.Context(), client.For(c, fleets)
	_, err := typed.Create(ctx, newFleet("lobby", 1))
	require.NoError(t, err)
	require.NoError(t, typed.Scale(ctx, "default", "lobby", 5))
	require.True(t, apierrors.IsInvalid(typed.Scale(ctx, "default", "lobby", -5)))
	scale := &client.Request{Verb: client.Patch, Kind: fleets.Kind(), Subresource: "scale", Namespace: "default", Name: "lobby",
		PatchType: types.MergePatchType, PatchData: []byte(`{"spec":{"replicas":6}}`)}
	resp, err := c.Do(ctx, scale)
	require.NoError(t, err)
	require.Equal(t, int32(6), resp.Object.(*autoscalingv1.Scale).Spec.Replicas)
	scale.Verb = client.Get
	resp, err = c.Do(ctx, scale)
	require.NoError(t, err)
	got := resp.Object.(*autoscalingv1.Scale)
	f, err := typed.Get(ctx, "default", "lobby")
	require.NoError(t, err)
	require.Equal(t, int32(6), f.Spec.Size)
	require.Equal(t, f.ResourceVersion, got.ResourceVersion)
	require.Equal(t, "Scale", got.Kind)
	_, err = c.Do(ctx, &client.Request{Verb: client.Get, Kind: kind.Pod.Kind(), Subresource: "scale", Namespace: "default", Name: "x"})
	require.True(t, apierrors.IsNotFound(err))
}

func TestBinding(t *testing.T) {
	_, c := start(t)
	ctx := t.Context()
	pod, err := client.For(c, kind.Pod).Create(ctx, newPod("a"))
	require.NoError(t, err)
	wrong := kind.Pod.Copy(pod)
	wrong.UID = "other"
	require.True(t, apierrors.IsConflict(client.Bind(ctx, c, wrong, "n1")))
	require.True(t, apierrors.IsInvalid(client.Bind(ctx, c, pod, "No")))
	require.NoError(t, client.Bind(ctx, c, pod, "n1"))
	require.True(t, apierrors.IsConflict(client.Bind(ctx, c, pod, "n2")))
	pod, err = client.For(c, kind.Pod).Get(ctx, "default", "a")
	require.NoError(t, err)
	require.Equal(t, "n1", pod.Spec.NodeName)
	require.Equal(t, corev1.ConditionTrue, pod.Status.Conditions[0].Status)
}

func TestDryRun(t *testing.T) {
	s, c := start(t)
	ctx, typed := t.Context(), client.For(c, fleets)
	before, err := s.Store().Revision(ctx)
	require.NoError(t, err)
	f, err := typed.Create(ctx, newFleet("lobby", 1), client.DryRun())
	require.NoError(t, err)
	require.NotEmpty(t, f.UID)
	_, err = typed.Get(ctx, "default", "lobby")
	require.True(t, apierrors.IsNotFound(err))
	after, err := s.Store().Revision(ctx)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestClaims(t *testing.T) {
	free := 1
	var mu sync.Mutex
	allocate := admission.Plugin{Name: "address", Mutate: func(_ context.Context, r *admission.Request) error {
		if svc, ok := r.Object.(*corev1.Service); ok && svc.Spec.ClusterIP == "" {
			mu.Lock()
			defer mu.Unlock()
			svc.Spec.ClusterIP = fmt.Sprintf("10.0.0.%d", free)
			free++
		}
		return nil
	}}
	_, c := start(t, func(cfg *apiserver.Config) { cfg.Admission = []admission.Plugin{allocate} })
	ctx, typed := t.Context(), client.For(c, services)
	svc := func(name, ip string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip}}
	}
	for i := range 3 {
		_, err := typed.Create(ctx, svc(fmt.Sprintf("fixed%d", i+1), fmt.Sprintf("10.0.0.%d", i+1)))
		require.NoError(t, err)
	}
	got, err := typed.Create(ctx, svc("next", ""))
	require.NoError(t, err)
	require.Equal(t, "10.0.0.4", got.Spec.ClusterIP, "taken addresses are passed over by running again")
	_, err = typed.Create(ctx, svc("taken", "10.0.0.2"))
	require.True(t, apierrors.IsConflict(err), err)
	_, err = typed.Update(ctx, svc("fixed1", "10.0.0.9"))
	require.NoError(t, err)
	_, err = typed.Create(ctx, svc("moved", "10.0.0.1"))
	require.NoError(t, err, "an update frees what it gives up")
	_, err = typed.Update(ctx, svc("moved", "10.0.0.2"))
	require.True(t, apierrors.IsConflict(err), err)
	require.NoError(t, typed.Delete(ctx, "default", "fixed2"))
	_, err = typed.Update(ctx, svc("moved", "10.0.0.2"))
	require.NoError(t, err, "a delete frees")
	_, err = typed.Mutate(ctx, "default", "moved", func(s *corev1.Service) error { s.Labels = map[string]string{"a": "b"}; return nil })
	require.NoError(t, err, "what an object holds already it may keep")
}

func TestAdmission(t *testing.T) {
	var seen []string
	plugins := []admission.Plugin{
		{Name: "label", Mutate: func(_ context.Context, r *admission.Request) error {
			if r.Object != nil {
				r.Object.SetLabels(map[string]string{"by": r.User.Groups[1][7:]})
			}
			return nil
		}},
		{Name: "gate", Validate: func(_ context.Context, r *admission.Request) error {
			seen = append(seen, fmt.Sprintf("%s %s/%s %s", r.Verb, r.Kind, r.Subresource, r.Name))
			if f, ok := r.Object.(*fleet); ok && f.Spec.Size > 10 {
				return errors.New("too big")
			}
			r.Warnings = append(r.Warnings, "checked")
			return nil
		}},
	}
	_, c := start(t, func(cfg *apiserver.Config) { cfg.Admission = plugins })
	resp, err := c.Do(t.Context(), &client.Request{Verb: client.Create, Kind: fleets.Kind(), Object: newFleet("a", 0)})
	require.NoError(t, err)
	require.Equal(t, "authenticated", resp.Object.GetLabels()["by"])
	require.Equal(t, []string{"checked", "spec.size: an empty fleet serves nobody"}, resp.Warnings)
	_, err = client.For(c, fleets).Update(t.Context(), newFleet("a", 11))
	require.True(t, apierrors.IsForbidden(err), err)
	require.ErrorContains(t, err, "gate: too big")
	require.NoError(t, client.For(c, fleets).Delete(t.Context(), "default", "a"))
	require.Equal(t, []string{"create fleets.games.example.com/ a", "update fleets.games.example.com/ a", "delete fleets.games.example.com/ a"}, seen)
}

func TestUndecodableIsSkipped(t *testing.T) {
	st, c := start(t)
	ctx := t.Context()
	f, err := client.For(c, fleets).Create(ctx, newFleet("good", 1))
	require.NoError(t, err)
	other := fleets.Copy(f)
	other.Name = "imported"
	data, err := json.Marshal(other)
	require.NoError(t, err)
	put(t, st, "/registry/games.example.com/fleets/default/bad", []byte("{"))
	put(t, st, "/registry/games.example.com/fleets/default/misplaced", data)
	put(t, st, "/registry/games.example.com/fleets/default/imported", data)
	page, err := client.For(c, fleets).List(ctx)
	require.NoError(t, err)
	require.Len(t, page.Items, 2)
	require.Equal(t, "imported", page.Items[1].Name)
	require.Equal(t, client.FormatRevision(page.Revision), page.Items[1].ResourceVersion)
}
