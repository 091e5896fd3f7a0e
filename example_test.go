package keelson_test

import (
	"context"
	"fmt"
	"log"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/runtime/runtimetest"
)

// A node joins a cluster that runs already. Its pods would be processes; with the fake runtime they are only said to
// run.
func ExampleCluster_NewNode() {
	cluster, err := keelson.New(keelson.Config{})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 3)
	go func() { ended <- cluster.Run(ctx) }()
	node, err := cluster.NewNode(ctx, keelson.NodeConfig{Name: "rack-1", Runtime: runtimetest.New(runtimetest.Config{})})
	if err != nil {
		log.Fatal(err)
	}
	onNode, stopNode := context.WithCancel(ctx)
	go func() { ended <- node.Run(onNode) }()

	if _, err := client.Apply(ctx, cluster.Client(), cluster.Kinds(), []byte(`
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {containers: [{name: web, image: web}]}
`)); err != nil {
		log.Fatal(err)
	}
	pods := controller.NewInformer(cluster.Client(), kind.Pod, controller.InformerConfig{Namespace: "default"})
	go func() { ended <- pods.Run(ctx) }()
	pod, err := pods.WaitFor(ctx, "default", "web", func(p *corev1.Pod, exists bool) bool {
		_, ready := controller.PodReady(p)
		return exists && ready
	})
	fmt.Println(pod.Name, "is ready on", pod.Spec.NodeName, err)

	stopNode()
	fmt.Println(<-ended, node.Close())
	stop()
	fmt.Println(<-ended, <-ended)
	// Output:
	// web is ready on rack-1 <nil>
	// <nil> <nil>
	// <nil> <nil>
}

// Without leaves parts out: here only the store and the API server are left.
func ExamplePart() {
	cluster, err := keelson.New(keelson.Config{Without: keelson.Controllers | keelson.Scheduler})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- cluster.Run(ctx) }()
	_, err = cluster.Explain(ctx, kind.Pod.New())
	fmt.Println(err)
	stop()
	fmt.Println(<-ended)
	// Output:
	// keelson: this cluster runs without a scheduler
	// <nil>
}
