package replicaset_test

import (
	"context"
	"fmt"
	"log"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/controller/replicaset"
)

// A ReplicaSet is given as many pods as it asks for.
func ExampleNew() {
	cluster, err := keelson.New(keelson.Config{Without: keelson.Controllers | keelson.Scheduler})
	if err != nil {
		log.Fatal(err)
	}
	c := cluster.Client()
	manager, err := controller.NewManager(c, controller.ManagerConfig{})
	if err != nil {
		log.Fatal(err)
	}
	if err := replicaset.New(manager, replicaset.Config{}); err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- cluster.Run(ctx) }()
	go func() { ended <- manager.Run(ctx) }()

	if _, err := client.Apply(ctx, c, cluster.Kinds(), []byte(`
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
`)); err != nil {
		log.Fatal(err)
	}
	if err := manager.Idle(ctx); err != nil {
		log.Fatal(err)
	}
	page, err := client.For(c, kind.Pod).List(ctx, client.InNamespace("default"))
	fmt.Println(len(page.Items), "pods", err)
	stop()
	fmt.Println(<-ended, <-ended)
	// Output:
	// 3 pods <nil>
	// <nil> <nil>
}
