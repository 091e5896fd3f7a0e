package keelson

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/authz"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// bootstrap creates the objects that every cluster has, where they are missing: the namespaces that clients take for
// granted, and the roles that the authorizer needs to be of use. What exists is left as it is.
func (c *Cluster) bootstrap(ctx context.Context) error {
	cl := c.as("bootstrap")
	for _, name := range []string{corev1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		if err := ensure(ctx, cl, kind.Namespace.Kind(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return err
		}
	}
	for _, o := range authz.Bootstrap() {
		if err := ensure(ctx, cl, o.Kind, o.Object); err != nil {
			return err
		}
	}
	return nil
}

func ensure(ctx context.Context, c client.Client, k *kind.Kind, obj kind.Instance) error {
	_, err := c.Do(ctx, &client.Request{Verb: client.Create, Kind: k, Namespace: obj.GetNamespace(), Name: obj.GetName(), Object: obj})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("%s %s: %w", k, obj.GetName(), err)
	}
	return nil
}
