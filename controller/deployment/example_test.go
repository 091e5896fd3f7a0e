package deployment_test

import (
	"context"
	"fmt"
	"log"
	"sync"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/controller/deployment"
	"github.com/keelson-dev/keelson/store"
)

// The Deployment controller alone makes ReplicaSets; Rollback brings the template of an earlier one back.
func ExampleRollback() {
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
	if err := deployment.New(manager, deployment.Config{}); err != nil {
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

	ns := kind.Namespace.New()
	ns.Name = "default"
	if _, err := client.For(c, kind.Namespace).Create(ctx, ns); err != nil {
		log.Fatal(err)
	}
	deployments := controller.InformerFor(manager, kind.Deployment)
	at := func(revision string) {
		d, err := deployments.WaitFor(ctx, "default", "web", func(d *appsv1.Deployment, ok bool) bool {
			return ok && d.Annotations[deployment.RevisionAnnotation] == revision
		})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("revision", revision, "runs", d.Spec.Template.Spec.Containers[0].Image)
	}
	for i, image := range []string{"web:1", "web:2"} {
		if _, err := client.Apply(ctx, c, server.Kinds(), []byte(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "`+image+`"}]}
`)); err != nil {
			log.Fatal(err)
		}
		at(fmt.Sprint(i + 1))
	}
	if err := deployment.Rollback(ctx, c, "default", "web", 0); err != nil {
		log.Fatal(err)
	}
	at("3")
	// Output:
	// revision 1 runs web:1
	// revision 2 runs web:2
	// revision 3 runs web:1
}
