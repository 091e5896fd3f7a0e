package job_test

import (
	"context"
	"fmt"
	"log"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/controller/job"
)

// A Job is complete when as many of its pods have succeeded as it asks for. Here nobody runs them: the example says
// that they did.
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
	if err := job.New(manager, job.Config{}); err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- cluster.Run(ctx) }()
	go func() { ended <- manager.Run(ctx) }()

	if _, err := client.Apply(ctx, c, cluster.Kinds(), []byte(`
apiVersion: batch/v1
kind: Job
metadata: {name: sum}
spec:
  completions: 2
  parallelism: 2
  template:
    spec: {restartPolicy: Never, containers: [{name: sum, image: sum}]}
`)); err != nil {
		log.Fatal(err)
	}
	if err := manager.Idle(ctx); err != nil {
		log.Fatal(err)
	}
	pods := client.For(c, kind.Pod)
	page, err := pods.List(ctx, client.InNamespace("default"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(page.Items), "pods")
	for _, p := range page.Items {
		if _, err := pods.MutateStatus(ctx, p.Namespace, p.Name, func(p *corev1.Pod) error {
			p.Status.Phase = corev1.PodSucceeded
			return nil
		}); err != nil {
			log.Fatal(err)
		}
	}
	sum, err := controller.InformerFor(manager, kind.Job).WaitFor(ctx, "default", "sum", func(j *batchv1.Job, exists bool) bool {
		return exists && j.Status.CompletionTime != nil
	})
	fmt.Println(sum.Status.Succeeded, "succeeded", err)
	stop()
	fmt.Println(<-ended, <-ended)
	// Output:
	// 2 pods
	// 2 succeeded <nil>
	// <nil> <nil>
}
