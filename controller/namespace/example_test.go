package namespace_test

import (
	"context"
	"fmt"
	"log"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/controller/namespace"
	"github.com/keelson-dev/keelson/store"
)

// A deleted Namespace goes when what is in it has gone.
func ExampleNew() {
	ctx, cancel := context.WithCancel(context.Background())
	st, err := store.Open(ctx, store.Config{})
	if err != nil {
		log.Fatal(err)
	}
	server, err := apiserver.New(st, apiserver.Config{Kinds: builtin.Kinds()})
	if err != nil {
		log.Fatal(err)
	}
	c := server.Client(authn.System("example"))
	manager, err := controller.NewManager(c, controller.ManagerConfig{})
	if err != nil {
		log.Fatal(err)
	}
	if err := namespace.New(manager, namespace.Config{Kinds: server.Kinds()}); err != nil {
		log.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { _ = server.Run(ctx) })
	running.Go(func() { _ = manager.Run(ctx) })
	defer func() {
		cancel()
		running.Wait()
		_ = st.Close()
	}()
	objects, err := client.Apply(ctx, c, server.Kinds(), []byte(`
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: prices, namespace: shop}
`))
	if err != nil {
		log.Fatal(err)
	}
	namespaces := controller.InformerFor(manager, kind.Namespace)
	if err := namespaces.WaitWrite(ctx, objects[0].(*corev1.Namespace)); err != nil { // or it might not know of it yet
		log.Fatal(err)
	}
	if err := client.For(c, kind.Namespace).Delete(ctx, "", "shop"); err != nil {
		log.Fatal(err)
	}
	_, err = namespaces.WaitFor(ctx, "", "shop", func(_ *corev1.Namespace, exists bool) bool { return !exists })
	if err != nil {
		log.Fatal(err)
	}
	page, err := client.For(c, kind.ConfigMap).List(ctx)
	fmt.Println(len(page.Items), err)
	// Output: 0 <nil>
}
