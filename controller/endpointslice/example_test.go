package endpointslice_test

import (
	"context"
	"fmt"
	"log"
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/controller/endpointslice"
	"github.com/keelson-dev/keelson/store"
)

// A Service with a selector has an EndpointSlice, even while it has no pods.
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
	if err := endpointslice.New(manager, endpointslice.Config{}); err != nil {
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
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 80}]}
`)); err != nil {
		log.Fatal(err)
	}
	if err := manager.Idle(ctx); err != nil {
		log.Fatal(err)
	}
	page, err := client.For(c, kind.EndpointSlice).List(ctx, client.InNamespace("shop"))
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range page.Items {
		fmt.Println(s.Labels[discoveryv1.LabelServiceName], s.AddressType, len(s.Endpoints))
	}
	// Output: web IPv4 0
}
