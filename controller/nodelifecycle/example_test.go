package nodelifecycle_test

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
	"github.com/keelson-dev/keelson/controller/nodelifecycle"
	"github.com/keelson-dev/keelson/store"
)

// A node that has not said yet that it is ready is kept free of pods.
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
	if err := nodelifecycle.New(manager, nodelifecycle.Config{}); err != nil {
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
kind: Node
metadata: {name: machine}
`)); err != nil {
		log.Fatal(err)
	}
	if err := manager.Idle(ctx); err != nil {
		log.Fatal(err)
	}
	node, err := client.For(c, kind.Node).Get(ctx, "", "machine")
	if err != nil {
		log.Fatal(err)
	}
	for _, t := range node.Spec.Taints {
		fmt.Println(t.ToString())
	}
	// Output: node.kubernetes.io/not-ready:NoSchedule
}
