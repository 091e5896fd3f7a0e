package admission_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/admission"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

func ExampleChain() {
	chain := admission.Chain{
		{Name: "team", Mutate: func(_ context.Context, r *admission.Request) error {
			r.Object.SetLabels(map[string]string{"team": "games"})
			return nil
		}},
		{Name: "names", Validate: func(_ context.Context, r *admission.Request) error {
			if r.Name == "test" {
				return errors.New("choose a better name")
			}
			return nil
		}},
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "test"}}
	r := &admission.Request{Verb: client.Create, Kind: kind.Pod.Kind(), Name: "test", Object: pod}
	fmt.Println(chain.Mutate(context.Background(), r), pod.Labels)
	fmt.Println(chain.Validate(context.Background(), r))
	// Output:
	// <nil> map[team:games]
	// pods "test" is forbidden: admission plugin names: choose a better name
}

// one answers gets with one namespace.
type one struct {
	client.Client
	ns *corev1.Namespace
}

func (o one) Do(_ context.Context, req *client.Request) (*client.Response, error) {
	if o.ns == nil || req.Name != o.ns.Name {
		return nil, apierrors.NewNotFound(req.Kind.GroupResource(), req.Name)
	}
	return &client.Response{Object: o.ns}, nil
}

func TestNamespaceLifecycle(t *testing.T) {
	at := metav1.Now()
	alive := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	dying := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", DeletionTimestamp: &at}}
	pod, ns := kind.Pod.Kind(), kind.Namespace.Kind()
	for name, tc := range map[string]struct {
		ns   *corev1.Namespace
		req  admission.Request
		want metav1.StatusReason // empty: accepted
	}{
		"create":               {alive, admission.Request{Verb: client.Create, Kind: pod, Namespace: "shop"}, ""},
		"create, missing":      {nil, admission.Request{Verb: client.Create, Kind: pod, Namespace: "shop"}, metav1.StatusReasonNotFound},
		"create, terminating":  {dying, admission.Request{Verb: client.Create, Kind: pod, Namespace: "shop"}, metav1.StatusReasonForbidden},
		"subresource":          {dying, admission.Request{Verb: client.Create, Kind: pod, Subresource: "eviction", Namespace: "shop"}, ""},
		"update, terminating":  {dying, admission.Request{Verb: client.Update, Kind: pod, Namespace: "shop"}, ""},
		"cluster scope":        {nil, admission.Request{Verb: client.Create, Kind: kind.Node.Kind()}, ""},
		"a namespace itself":   {nil, admission.Request{Verb: client.Create, Kind: ns, Name: "shop"}, ""},
		"delete":               {alive, admission.Request{Verb: client.Delete, Kind: ns, Name: "shop"}, ""},
		"delete, immortal":     {alive, admission.Request{Verb: client.Delete, Kind: ns, Name: "default"}, metav1.StatusReasonForbidden},
		"delete, of that name": {alive, admission.Request{Verb: client.Delete, Kind: pod, Name: "default", Namespace: "shop"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := admission.NamespaceLifecycle(one{ns: tc.ns})
			err := admission.Chain{p}.Validate(t.Context(), &tc.req)
			require.Equal(t, tc.want == "", err == nil, "%v", err)
			require.Equal(t, tc.want, apierrors.ReasonForError(err))
		})
	}
}

func TestErrorsKeepTheirMeaning(t *testing.T) {
	refuse := func(err error) error {
		return admission.Chain{{Name: "p", Mutate: func(context.Context, *admission.Request) error { return err }}}.
			Mutate(t.Context(), &admission.Request{Kind: kind.Pod.Kind()})
	}
	require.True(t, apierrors.IsConflict(refuse(apierrors.NewConflict(kind.Pod.Kind().GroupResource(), "x", errors.New("y")))))
	require.ErrorIs(t, refuse(context.Canceled), context.Canceled)
	require.True(t, apierrors.IsForbidden(refuse(errors.New("no"))))
}
