package podgc_test

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
	"github.com/keelson-dev/keelson/controller/podgc"
	"github.com/keelson-dev/keelson/store"
)

// A pod that is being deleted on a machine that is known to be off has nobody to end it.
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
	if err := podgc.New(manager, podgc.Config{}); err != nil {
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
kind: Node
metadata: {name: machine}
spec: {taints: [{key: node.kubernetes.io/out-of-service, effect: NoExecute}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {nodeName: machine, containers: [{name: c, image: i}]}
`)); err != nil {
		log.Fatal(err)
	}
	if err := client.For(c, kind.Pod).Delete(ctx, "shop", "web"); err != nil {
		log.Fatal(err)
	}
	if err := manager.Idle(ctx); err != nil {
		log.Fatal(err)
	}
	page, err := client.For(c, kind.Pod).List(ctx)
	fmt.Println(len(page.Items), err)
	// Output: 0 <nil>
}
