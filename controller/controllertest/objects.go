package controllertest

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/yaml"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// Create writes a new object and returns it as stored. An object of a namespaced kind without a namespace goes to
// default.
func Create[T kind.Instance](cp *ControlPlane, t kind.Type[T], obj T) T {
	cp.t.Helper()
	if t.Kind().Namespaced && obj.GetNamespace() == "" {
		obj = t.Copy(obj)
		obj.SetNamespace("default")
	}
	ctx, cancel := cp.within()
	defer cancel()
	out, err := client.For(cp.Client, t).Create(ctx, obj)
	if err != nil {
		cp.t.Fatalf("controllertest: create %s %s/%s: %v", t.Kind(), obj.GetNamespace(), obj.GetName(), err)
	}
	return out
}

// Get reads an object, which has to exist. It is read-only.
func Get[T kind.Instance](cp *ControlPlane, t kind.Type[T], namespace, name string) T {
	cp.t.Helper()
	ctx, cancel := cp.within()
	defer cancel()
	obj, err := client.For(cp.Client, t).Get(ctx, namespace, name)
	if err != nil {
		cp.t.Fatalf("controllertest: get %s %s/%s: %v", t.Kind(), namespace, name, err)
	}
	return obj
}

// Exists reports whether an object exists.
func Exists[T kind.Instance](cp *ControlPlane, t kind.Type[T], namespace, name string) bool {
	cp.t.Helper()
	ctx, cancel := cp.within()
	defer cancel()
	_, err := client.For(cp.Client, t).Get(ctx, namespace, name)
	if err != nil && !apierrors.IsNotFound(err) {
		cp.t.Fatalf("controllertest: get %s %s/%s: %v", t.Kind(), namespace, name, err)
	}
	return err == nil
}

// List reads all objects of a kind in a namespace, or in all when it is empty. They are read-only.
func List[T kind.Instance](cp *ControlPlane, t kind.Type[T], namespace string, opts ...client.Option) []T {
	cp.t.Helper()
	ctx, cancel := cp.within()
	defer cancel()
	page, err := client.For(cp.Client, t).List(ctx, append(opts, client.InNamespace(namespace))...)
	if err != nil {
		cp.t.Fatalf("controllertest: list %s: %v", t.Kind(), err)
	}
	return page.Items
}

// Mutate changes an object, which has to exist, and returns it as stored.
func Mutate[T kind.Instance](cp *ControlPlane, t kind.Type[T], namespace, name string, change func(T)) T {
	cp.t.Helper()
	return mutate(cp, t, namespace, name, change, client.Typed[T].Mutate)
}

// MutateStatus is Mutate for the status.
func MutateStatus[T kind.Instance](cp *ControlPlane, t kind.Type[T], namespace, name string, change func(T)) T {
	cp.t.Helper()
	return mutate(cp, t, namespace, name, change, client.Typed[T].MutateStatus)
}

func mutate[T kind.Instance](cp *ControlPlane, t kind.Type[T], namespace, name string, change func(T),
	how func(client.Typed[T], context.Context, string, string, func(T) error, ...client.Option) (T, error)) T {
	cp.t.Helper()
	ctx, cancel := cp.within()
	defer cancel()
	out, err := how(client.For(cp.Client, t), ctx, namespace, name, func(obj T) error {
		change(obj)
		return nil
	})
	if err != nil {
		cp.t.Fatalf("controllertest: change %s %s/%s: %v", t.Kind(), namespace, name, err)
	}
	return out
}

// Delete deletes an object, which has to exist.
func Delete[T kind.Instance](cp *ControlPlane, t kind.Type[T], namespace, name string, opts ...client.Option) {
	cp.t.Helper()
	ctx, cancel := cp.within()
	defer cancel()
	if err := client.For(cp.Client, t).Delete(ctx, namespace, name, opts...); err != nil {
		cp.t.Fatalf("controllertest: delete %s %s/%s: %v", t.Kind(), namespace, name, err)
	}
}

// WaitFor waits until an object exists and cond holds for it, and returns it. It watches: cond sees the latest state
// after each change. When it takes too long the test fails, showing the last state. The object is read-only.
func WaitFor[T kind.Instance](cp *ControlPlane, t kind.Type[T], namespace, name string, cond func(obj T) bool) T {
	cp.t.Helper()
	obj, err := wait(cp, t, namespace, name, func(obj T, exists bool) bool { return exists && cond(obj) })
	if err != nil {
		cp.t.Fatalf("controllertest: %v\nthe last state:\n%s", err, show(t, obj))
	}
	return obj
}

// WaitGone waits until an object does not exist.
func WaitGone[T kind.Instance](cp *ControlPlane, t kind.Type[T], namespace, name string) {
	cp.t.Helper()
	obj, err := wait(cp, t, namespace, name, func(_ T, exists bool) bool { return !exists })
	if err != nil {
		cp.t.Fatalf("controllertest: %v\nit still exists:\n%s", err, show(t, obj))
	}
}

func wait[T kind.Instance](cp *ControlPlane, t kind.Type[T], namespace, name string, cond func(T, bool) bool) (T, error) {
	ctx, cancel := cp.within()
	defer cancel()
	one := controller.NewInformer(cp.Client, t, controller.InformerConfig{
		Namespace: namespace, FieldSelector: "metadata.name=" + name, Logger: cp.cfg.logger,
	})
	following, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- one.Run(following) }()
	obj, err := one.WaitFor(ctx, namespace, name, cond)
	stop()
	<-done
	return obj, err
}

func show[T kind.Instance](t kind.Type[T], obj T) string {
	if any(obj) == nil || obj.GetName() == "" {
		return "it does not exist"
	}
	obj = t.Copy(obj)
	obj.SetManagedFields(nil)
	data, err := yaml.Marshal(obj)
	if err != nil {
		return fmt.Sprintf("%+v", obj)
	}
	return string(data)
}
