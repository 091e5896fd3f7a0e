package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller/controllertest"
)

func TestTypedRoundTrip(t *testing.T) {
	ctx := t.Context()
	c := client.For(server(t).Client(authn.System("test")), fleets)
	f, err := c.Create(ctx, newFleet("lobby", 3))
	require.NoError(t, err)
	require.NotEmpty(t, f.UID)

	stale := fleets.Copy(f)
	next := fleets.Copy(f)
	next.Spec.Size = 4
	next, err = c.Update(ctx, next)
	require.NoError(t, err)
	_, err = c.Update(ctx, stale)
	require.True(t, apierrors.IsConflict(err), "a stale revision: %v", err)

	next = fleets.Copy(next)
	next.Status.Ready, next.Spec.Size = 2, 99
	next, err = c.UpdateStatus(ctx, next)
	require.NoError(t, err)
	require.EqualValues(t, 2, next.Status.Ready)
	require.EqualValues(t, 4, next.Spec.Size, "the status subresource writes the status only")

	next, err = c.Patch(ctx, "default", "lobby", types.MergePatchType, []byte(`{"spec":{"size":5}}`))
	require.NoError(t, err)
	require.EqualValues(t, 5, next.Spec.Size)
	require.EqualValues(t, 2, next.Status.Ready)

	require.NoError(t, c.Delete(ctx, "default", "lobby"))
	_, err = c.Get(ctx, "default", "lobby")
	require.True(t, apierrors.IsNotFound(err), "%v", err)
	require.True(t, apierrors.IsNotFound(c.Delete(ctx, "default", "lobby")))
}

func TestMutateStartsAgainAfterAConflict(t *testing.T) {
	ctx := t.Context()
	direct := server(t).Client(authn.System("test"))
	c := client.For(direct, fleets)
	_, err := c.Create(ctx, newFleet("lobby", 0))
	require.NoError(t, err)

	// Another writer is quicker, twice.
	rivals := 2
	slow := client.For(plain{direct, func(req *client.Request) error {
		if req.Verb != client.Update || rivals == 0 {
			return nil
		}
		rivals--
		_, err := c.Patch(ctx, "default", "lobby", types.MergePatchType, []byte(`{"metadata":{"labels":{"rival":"`+string(rune('a'+rivals))+`"}}}`))
		return err
	}}, fleets)
	calls := 0
	f, err := slow.Mutate(ctx, "default", "lobby", func(f *fleet) error {
		calls++
		f.Spec.Size++
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 3, calls)
	require.EqualValues(t, 1, f.Spec.Size, "each call begins with what is stored")
	require.Equal(t, "a", f.Labels["rival"], "what others wrote stays")

	f, err = c.MutateStatus(ctx, "default", "lobby", func(f *fleet) error { f.Status.Ready = 1; return nil })
	require.NoError(t, err)
	require.EqualValues(t, 1, f.Status.Ready)
}

func TestMutateWritesNothingInVain(t *testing.T) {
	ctx := t.Context()
	direct := server(t).Client(authn.System("test"))
	_, err := client.For(direct, fleets).Create(ctx, newFleet("lobby", 3))
	require.NoError(t, err)
	c := client.For(plain{direct, func(req *client.Request) error {
		require.Equal(t, client.Get, req.Verb)
		return nil
	}}, fleets)
	f, err := c.Mutate(ctx, "default", "lobby", func(f *fleet) error { f.Spec.Extras = map[string]string{}; return nil })
	require.NoError(t, err)
	require.EqualValues(t, 3, f.Spec.Size)

	refused := errors.New("refused")
	_, err = c.Mutate(ctx, "default", "lobby", func(f *fleet) error { f.Spec.Size = 9; return refused })
	require.Equal(t, refused, err)
	f, err = c.Get(ctx, "default", "lobby")
	require.NoError(t, err)
	require.EqualValues(t, 3, f.Spec.Size, "change got a copy")

	_, err = c.Mutate(ctx, "default", "nobody", func(*fleet) error { t.Error("called for nothing"); return nil })
	require.True(t, apierrors.IsNotFound(err))
}

func TestMutateEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	direct := server(t).Client(authn.System("test"))
	_, err := client.For(direct, fleets).Create(ctx, newFleet("lobby", 3))
	require.NoError(t, err)
	conflict := apierrors.NewConflict(fleets.Kind().GroupResource(), "lobby", errors.New("always"))
	c := client.For(plain{direct, func(req *client.Request) error {
		if req.Verb == client.Update {
			cancel()
			return conflict
		}
		return nil
	}}, fleets)
	_, err = c.Mutate(ctx, "default", "lobby", func(f *fleet) error { f.Spec.Size++; return nil })
	require.Equal(t, conflict, err)
}

func TestListSelectsAndPages(t *testing.T) {
	ctx := t.Context()
	c := client.For(server(t).Client(authn.System("test")), kind.ConfigMap)
	for _, name := range []string{"a", "b", "c", "d"} {
		cm := configMap(name)
		cm.Labels = map[string]string{"vowel": map[bool]string{true: "yes", false: "no"}[name == "a"]}
		_, err := c.Create(ctx, cm)
		require.NoError(t, err)
	}
	elsewhere := configMap("a")
	elsewhere.Namespace = "kube-system"
	_, err := c.Create(ctx, elsewhere)
	require.NoError(t, err)

	list := func(opts ...client.Option) (names []string, page client.Page[*corev1.ConfigMap]) {
		page, err := c.List(ctx, opts...)
		require.NoError(t, err)
		for _, cm := range page.Items {
			names = append(names, cm.Namespace+"/"+cm.Name)
		}
		return names, page
	}
	all, _ := list()
	require.Len(t, all, 5)
	some, _ := list(client.InNamespace("default"), client.Labels(labels.SelectorFromSet(labels.Set{"vowel": "yes"})))
	require.Equal(t, []string{"default/a"}, some)
	some, _ = list(client.Fields(fields.OneTermEqualSelector("metadata.name", "a")))
	require.Equal(t, []string{"default/a", "kube-system/a"}, some)

	first, page := list(client.InNamespace("default"), client.Limit(3))
	require.Equal(t, []string{"default/a", "default/b", "default/c"}, first)
	require.NotEmpty(t, page.Continue)
	_, err = c.Create(ctx, configMap("z"))
	require.NoError(t, err)
	rest, last := list(client.InNamespace("default"), client.Limit(3), client.Continue(page.Continue))
	require.Equal(t, []string{"default/d"}, rest, "pages are of one revision")
	require.Empty(t, last.Continue)

	w, err := c.Watch(ctx, client.InNamespace("default"), client.FromRevision(page.Revision))
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	e, err := w.Next(ctx)
	require.NoError(t, err)
	require.Equal(t, "z", e.Object.GetName())

	require.NoError(t, c.DeleteAll(ctx, client.InNamespace("default"), client.Labels(labels.SelectorFromSet(labels.Set{"vowel": "no"}))))
	left, _ := list()
	require.Equal(t, []string{"default/a", "default/z", "kube-system/a"}, left)
}

func TestOptionsOfWrites(t *testing.T) {
	ctx := t.Context()
	c := client.For(server(t).Client(authn.System("test")), fleets)
	_, err := c.Create(ctx, newFleet("lobby", 3), client.DryRun())
	require.NoError(t, err)
	_, err = c.Get(ctx, "default", "lobby")
	require.True(t, apierrors.IsNotFound(err), "a dry run stores nothing")

	f, err := c.Create(ctx, newFleet("lobby", 3))
	require.NoError(t, err)
	require.True(t, apierrors.IsConflict(c.Delete(ctx, "default", "lobby", client.IfUID("another"))))
	require.NoError(t, c.Delete(ctx, "default", "lobby", client.IfUID(f.UID)))
}

func TestOptionsSetTheirField(t *testing.T) {
	seconds, uid := int64(7), types.UID("u")
	foreground := metav1.DeletePropagationForeground
	for name, test := range map[string]struct {
		option client.Option
		want   client.Request
	}{
		"namespace":   {client.InNamespace("a"), client.Request{Namespace: "a"}},
		"grace":       {client.GracePeriod(7), client.Request{Delete: metav1.DeleteOptions{GracePeriodSeconds: &seconds}}},
		"propagation": {client.Propagation(foreground), client.Request{Delete: metav1.DeleteOptions{PropagationPolicy: &foreground}}},
		"uid":         {client.IfUID(uid), client.Request{Delete: metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}}},
		"revision":    {client.FromRevision(7), client.Request{List: metav1.ListOptions{ResourceVersion: "7"}}},
		"manager":     {client.ManagedBy("m"), client.Request{FieldManager: "m"}},
	} {
		var req client.Request
		test.option(&req)
		require.Equal(t, test.want, req, name)
	}
}

func TestScale(t *testing.T) {
	ctx := t.Context()
	direct := server(t).Client(authn.System("test"))
	_, err := client.Apply(ctx, direct, kindSet(t), []byte(deployment))
	require.NoError(t, err)
	c := client.For(direct, kind.Deployment)
	require.NoError(t, c.Scale(ctx, "default", "web", 5))
	d, err := c.Get(ctx, "default", "web")
	require.NoError(t, err)
	require.EqualValues(t, 5, *d.Spec.Replicas)
	require.True(t, apierrors.IsNotFound(c.Scale(ctx, "default", "nobody", 5)))
	require.Error(t, client.For(direct, kind.ConfigMap).Scale(ctx, "default", "web", 5), "no scale subresource")
}

// wrong answers everything with an object of another type.
type wrong struct{}

func (wrong) Do(context.Context, *client.Request) (*client.Response, error) {
	return &client.Response{Object: configMap("a"), Items: []kind.Instance{configMap("a")}}, nil
}

func (wrong) Watch(context.Context, *client.Request) (client.Watcher, error) { return nil, nil }

func TestAnswerOfAnotherTypeIsAnError(t *testing.T) {
	c := client.For(wrong{}, kind.Pod)
	_, err := c.Get(t.Context(), "default", "a")
	require.EqualError(t, err, "get pods: the answer is a *v1.ConfigMap, want a *v1.Pod")
	_, err = c.List(t.Context())
	require.EqualError(t, err, "list pods: item 0 is a *v1.ConfigMap, want a *v1.Pod")
}

func TestIgnoreNotFound(t *testing.T) {
	gone := apierrors.NewNotFound(fleets.Kind().GroupResource(), "lobby")
	require.NoError(t, client.IgnoreNotFound(gone))
	require.NoError(t, client.IgnoreNotFound(nil))
	other := errors.New("other")
	require.Equal(t, other, client.IgnoreNotFound(other))
}

func TestMutateGivesUpOnAnEndlessConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := controllertest.New(t)
		controllertest.Create(cp, kind.ConfigMap, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "contested"}})
		always := cp.Faults.Inject(controllertest.Fault{Verb: client.Update, Conflict: true})
		_, err := client.For(cp.Faults.Wrap(cp.Client), kind.ConfigMap).Mutate(cp.Context(), "default", "contested", func(cm *corev1.ConfigMap) error {
			cm.Data = map[string]string{"a": "b"}
			return nil
		})
		require.True(t, apierrors.IsConflict(err), "%v", err)
		require.Equal(t, 64, always.Hits())
	})
}
