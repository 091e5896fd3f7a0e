package garbage_test

import (
	"context"
	"fmt"
	"log"
	"sync"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/controller/garbage"
	"github.com/keelson-dev/keelson/store"
)

// An object goes with its owner.
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
	if err := garbage.New(manager, garbage.Config{Kinds: server.Kinds()}); err != nil {
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
	if _, err := client.Apply(ctx, c, server.Kinds(), []byte(`
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: owner, namespace: shop}
`)); err != nil {
		log.Fatal(err)
	}
	maps := client.For(c, kind.ConfigMap)
	owner, err := maps.Get(ctx, "shop", "owner")
	if err != nil {
		log.Fatal(err)
	}
	dependent := kind.ConfigMap.New()
	dependent.Namespace, dependent.Name = "shop", "dependent"
	controller.SetOwner(owner, dependent, kind.ConfigMap.Kind())
	if _, err := maps.Create(ctx, dependent); err != nil {
		log.Fatal(err)
	}
	if err := maps.Delete(ctx, "shop", "owner"); err != nil {
		log.Fatal(err)
	}
	if err := manager.Idle(ctx); err != nil {
		log.Fatal(err)
	}
	page, err := maps.List(ctx)
	fmt.Println(len(page.Items), err)
	// Output: 0 <nil>
}
