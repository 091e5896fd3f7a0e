package apiserver_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/admission"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// upstream starts a server with the built-in kinds as they are.
func upstream(t *testing.T, plugins ...admission.Plugin) client.Client {
	s, _ := start(t, func(cfg *apiserver.Config) { cfg.Kinds, cfg.Admission = builtin.Kinds(), plugins })
	return s.Client(authn.System("test"))
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}

// TestRefusedWrites holds what is refused to the texts of kube-apiserver.
func TestRefusedWrites(t *testing.T) {
	c := upstream(t)
	ctx := t.Context()
	maps := client.For(c, kind.ConfigMap)
	there, err := maps.Create(ctx, configMap("there"))
	require.NoError(t, err)
	held := configMap("held")
	held.Finalizers = []string{"example.com/hold"}
	_, err = maps.Create(ctx, held)
	require.NoError(t, err)
	require.NoError(t, maps.Delete(ctx, "default", "held"))

	create := func(change func(*corev1.ConfigMap)) func() error {
		return func() error {
			m := configMap("new")
			change(m)
			_, err := maps.Create(ctx, m)
			return err
		}
	}
	update := func(change func(*corev1.ConfigMap)) func() error {
		return func() error {
			m := there.DeepCopy()
			change(m)
			_, err := maps.Update(ctx, m)
			return err
		}
	}
	patch := func(kind types.PatchType, data string) func() error {
		return func() error { _, err := maps.Patch(ctx, "default", "there", kind, []byte(data)); return err }
	}
	remove := func(opts ...client.Option) func() error {
		return func() error { return maps.Delete(ctx, "default", "there", opts...) }
	}
	for name, tc := range map[string]struct {
		do   func() error
		code int32
		text string
	}{
		"exists":          {create(func(m *corev1.ConfigMap) { m.Name = "there" }), 409, `configmaps "there" already exists`},
		"exists, dry run": {func() error { _, err := maps.Create(ctx, configMap("there"), client.DryRun()); return err }, 409, `configmaps "there" already exists`},
		"exists, deleted": {create(func(m *corev1.ConfigMap) { m.Name = "held" }), 409, `object is being deleted: configmaps "held" already exists`},
		"version":         {create(func(m *corev1.ConfigMap) { m.ResourceVersion = "1" }), 400, "resourceVersion should not be set on objects to be created"},
		"label":           {create(func(m *corev1.ConfigMap) { m.Labels = map[string]string{"a b": ""} }), 422, `metadata.labels: Invalid value: "a b": name part must consist of alphanumeric characters`},
		"annotations":     {create(func(m *corev1.ConfigMap) { m.Annotations = map[string]string{"a": strings.Repeat("x", 256<<10)} }), 422, "metadata.annotations: Too long: may not be more than 262144 bytes"},
		"owner": {create(func(m *corev1.ConfigMap) {
			m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "x"}}
		}), 422, `metadata.ownerReferences[0].uid: Required value: must not be empty`},
		"two controllers": {create(func(m *corev1.ConfigMap) {
			m.OwnerReferences = []metav1.OwnerReference{controlledBy("a"), controlledBy("b")}
		}), 422, "Only one reference can have Controller set to true"},
		"both finalizers":  {create(func(m *corev1.ConfigMap) { m.Finalizers = []string{"orphan", "foregroundDeletion"} }), 422, "finalizer orphan and foregroundDeletion cannot be both set"},
		"bad finalizer":    {create(func(m *corev1.ConfigMap) { m.Finalizers = []string{"a b"} }), 422, `metadata.finalizers: Invalid value: "a b"`},
		"stale":            {update(func(m *corev1.ConfigMap) { m.ResourceVersion = "1" }), 409, `Operation cannot be fulfilled on configmaps "there": the object has been modified; please apply your changes to the latest version and try again`},
		"another uid":      {update(func(m *corev1.ConfigMap) { m.UID = "x" }), 409, "Precondition failed: UID in precondition: x, UID in object meta: " + string(there.UID)},
		"deletion":         {update(func(m *corev1.ConfigMap) { m.DeletionTimestamp = &m.CreationTimestamp }), 422, "metadata.deletionTimestamp: Invalid value"},
		"json test":        {patch(types.JSONPatchType, `[{"op":"test","path":"/data/a","value":"b"}]`), 422, ""},
		"json, too many":   {patch(types.JSONPatchType, "["+strings.Repeat(`{"op":"remove","path":"/x"},`, 10_000)+`{"op":"remove","path":"/x"}]`), 413, "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"},
		"json, unknown":    {patch(types.JSONPatchType, `[{"op":"add","path":"/data","value":{},"vlaue":1}]`), 422, `strict decoding error: json patch unknown field "[0].vlaue"`},
		"merge, twice":     {patch(types.MergePatchType, `{"data":{"a":"1","a":"2"}}`), 422, `strict decoding error: duplicate field "data.a"`},
		"unknown field":    {patch(types.MergePatchType, `{"dta":{}}`), 422, `strict decoding error: unknown field "dta"`},
		"wrong type":       {patch(types.MergePatchType, `{"data":[]}`), 422, `patch: Invalid value`},
		"immutable uid":    {patch(types.MergePatchType, `{"metadata":{"uid":"x"}}`), 422, `metadata.uid: Invalid value: "x": field is immutable`},
		"uid precondition": {remove(client.IfUID("x")), 409, `Operation cannot be fulfilled on configmaps "there": the UID in the precondition (x) does not match the UID in record (` + string(there.UID) + `). The object might have been deleted and then recreated`},
		"version precondition": {remove(func(r *client.Request) { r.Delete.Preconditions = &metav1.Preconditions{ResourceVersion: new("1")} }), 409,
			"the ResourceVersion in the precondition (1) does not match the ResourceVersion in record (" + there.ResourceVersion + "). The object might have been modified"},
		"both policies": {remove(client.Propagation("Orphan"), func(r *client.Request) { r.Delete.OrphanDependents = new(true) }), 422,
			`DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set`},
		"policy":            {remove(client.Propagation("Away")), 422, `propagationPolicy: Unsupported value: "Away": supported values: "Foreground", "Background", "Orphan", "nil"`},
		"dry run of delete": {remove(func(r *client.Request) { r.Delete.DryRun = []string{"Some"} }), 422, `dryRun: Unsupported value: ["Some"]: supported values: "All"`},
		"lease, no version": {func() error {
			lease := kind.Lease.New()
			lease.Namespace, lease.Name = "default", "l"
			if _, err := client.For(c, kind.Lease).Create(ctx, lease); err != nil && !apierrors.IsAlreadyExists(err) {
				return err
			}
			_, err := client.For(c, kind.Lease).Update(ctx, lease)
			return err
		}, 422, "metadata.resourceVersion: Invalid value: 0: must be specified for an update"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.do()
			require.ErrorContains(t, err, tc.text)
			var status apierrors.APIStatus
			require.ErrorAs(t, err, &status)
			require.Equal(t, tc.code, status.Status().Code)
		})
	}
	after, err := maps.Get(ctx, "default", "there")
	require.NoError(t, err)
	require.Equal(t, there, after)
}

func controlledBy(uid types.UID) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: uid, Controller: new(true)}
}

func TestDuplicateOwnersAreDropped(t *testing.T) {
	twice := func(_ context.Context, r *admission.Request) error {
		if r.Object != nil && r.Object.GetName() == "mutated" {
			r.Object.SetOwnerReferences(append(r.Object.GetOwnerReferences(), r.Object.GetOwnerReferences()...))
		}
		return nil
	}
	c := upstream(t, admission.Plugin{Name: "twice", Mutate: twice})
	for name, when := range map[string]string{"sent": "duplicate entries; ", "mutated": "duplicate entries after mutating admission happens; "} {
		m := configMap(name)
		ref := controlledBy("u")
		m.OwnerReferences = []metav1.OwnerReference{ref}
		if name == "sent" {
			m.OwnerReferences = append(m.OwnerReferences, ref)
		}
		resp, err := c.Do(t.Context(), &client.Request{Verb: client.Create, Kind: kind.ConfigMap.Kind(), Object: m})
		require.NoError(t, err)
		require.Len(t, resp.Object.GetOwnerReferences(), 1)
		require.Len(t, resp.Warnings, 1)
		require.Contains(t, resp.Warnings[0], ".metadata.ownerReferences contains "+when)
		require.True(t, strings.HasSuffix(resp.Warnings[0], "duplicate UID(s) observed: u"))
	}
}

func TestUpdatesThatCreate(t *testing.T) {
	c := upstream(t)
	ctx := t.Context()
	lease := kind.Lease.New()
	lease.Namespace, lease.Name, lease.ResourceVersion = "default", "l", "7"
	resp, err := c.Do(ctx, &client.Request{Verb: client.Update, Kind: kind.Lease.Kind(), Namespace: "default", Name: "l", Object: lease})
	require.NoError(t, err)
	require.True(t, resp.Created)
	require.NotEmpty(t, resp.Object.GetUID())
	require.NotEqual(t, "7", resp.Object.GetResourceVersion())
	resp, err = c.Do(ctx, &client.Request{Verb: client.Update, Kind: kind.Lease.Kind(), Namespace: "default", Name: "l", Object: resp.Object})
	require.NoError(t, err)
	require.False(t, resp.Created)
	lease.Name, lease.UID = "m", "x"
	_, err = client.For(c, kind.Lease).Update(ctx, lease)
	require.True(t, apierrors.IsConflict(err), err)
	_, err = client.For(c, kind.ConfigMap).Update(ctx, configMap("none"))
	require.True(t, apierrors.IsNotFound(err), err)
}

func TestGracePeriods(t *testing.T) {
	c := upstream(t)
	ctx, typed := t.Context(), client.For(c, kind.Pod)
	node := kind.Node.New()
	node.Name = "n"
	_, err := client.For(c, kind.Node).Create(ctx, node)
	require.NoError(t, err)
	made := func(name string) {
		p := newPod(name)
		p.Spec.NodeName, p.Spec.TerminationGracePeriodSeconds = "n", new(int64(30))
		p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
		_, err := typed.Create(ctx, p)
		require.NoError(t, err)
	}
	for name, tc := range map[string]struct {
		deletes [][]client.Option
		want    int64 // seconds that are left; negative: it is gone
	}{
		"the pod's own":     {[][]client.Option{{}}, 30},
		"asked for":         {[][]client.Option{{client.GracePeriod(60)}}, 60},
		"negative":          {[][]client.Option{{client.GracePeriod(-5)}}, 1},
		"none":              {[][]client.Option{{client.GracePeriod(0)}}, -1},
		"not longer":        {[][]client.Option{{}, {client.GracePeriod(90)}}, 30},
		"not by default":    {[][]client.Option{{client.GracePeriod(60)}, {}}, 60},
		"shorter":           {[][]client.Option{{}, {client.GracePeriod(5)}}, 5},
		"at once after all": {[][]client.Option{{}, {client.GracePeriod(0)}}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			name := strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), "'", "")
			made(name)
			for _, opts := range tc.deletes {
				require.NoError(t, typed.Delete(ctx, "default", name, opts...))
			}
			p, err := typed.Get(ctx, "default", name)
			if tc.want < 0 {
				require.True(t, apierrors.IsNotFound(err), err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, *p.DeletionGracePeriodSeconds)
			require.EqualValues(t, 2, p.Generation)
		})
	}
	made("pending")
	require.NoError(t, typed.Delete(ctx, "default", "pending"))
	require.NoError(t, typed.Delete(ctx, "default", "pending", client.Propagation(metav1.DeletePropagationForeground)))
	p, err := typed.Get(ctx, "default", "pending")
	require.NoError(t, err)
	require.Empty(t, p.Finalizers, "a deletion that waits takes no other policy")
}

// TestStrategicDirectives sends each directive of strategic merge patches.
func TestStrategicDirectives(t *testing.T) {
	c := upstream(t)
	ctx, typed := t.Context(), client.For(c, kind.Deployment)
	d := kind.Deployment.New()
	d.Namespace, d.Name, d.Finalizers = "default", "d", []string{"example.com/a", "example.com/b"}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	d.Spec.Template.Labels = map[string]string{"a": "b"}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "x", Image: "1"}, {Name: "y", Image: "1"}}
	_, err := typed.Create(ctx, d)
	require.NoError(t, err)
	for _, step := range []struct {
		name, patch string
		check       func(*testing.T)
	}{
		{"delete", `{"spec":{"template":{"spec":{"containers":[{"name":"x","$patch":"delete"}]}}}}`, func(t *testing.T) {
			d, err := typed.Get(ctx, "default", "d")
			require.NoError(t, err)
			require.Len(t, d.Spec.Template.Spec.Containers, 1)
		}},
		{"set element order", `{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"z"},{"name":"y"}],"containers":[{"name":"z","image":"1"}]}}}}`, func(t *testing.T) {
			d, err := typed.Get(ctx, "default", "d")
			require.NoError(t, err)
			require.Equal(t, "z", d.Spec.Template.Spec.Containers[0].Name)
		}},
		{"replace", `{"spec":{"template":{"spec":{"containers":[{"name":"w","image":"1"},{"$patch":"replace"}]}}}}`, func(t *testing.T) {
			d, err := typed.Get(ctx, "default", "d")
			require.NoError(t, err)
			require.Len(t, d.Spec.Template.Spec.Containers, 1)
			require.Equal(t, "w", d.Spec.Template.Spec.Containers[0].Name)
		}},
		{"retain keys", `{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}`, func(t *testing.T) {
			d, err := typed.Get(ctx, "default", "d")
			require.NoError(t, err)
			require.Nil(t, d.Spec.Strategy.RollingUpdate)
		}},
		{"delete from primitive list", `{"metadata":{"$deleteFromPrimitiveList/finalizers":["example.com/a"]}}`, func(t *testing.T) {
			d, err := typed.Get(ctx, "default", "d")
			require.NoError(t, err)
			require.Equal(t, []string{"example.com/b"}, d.Finalizers)
		}},
	} {
		t.Run(step.name, func(t *testing.T) {
			_, err := typed.Patch(ctx, "default", "d", types.StrategicMergePatchType, []byte(step.patch))
			require.NoError(t, err)
			step.check(t)
		})
	}
	_, err = typed.Patch(ctx, "default", "d", types.StrategicMergePatchType, []byte(`{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate","rollingUpdate":{"maxSurge":1}}}}`))
	require.Equal(t, metav1.StatusReasonBadRequest, reason(err), "%v", err)
	require.ErrorContains(t, err, "invalid patch format of retainKeys")
}
