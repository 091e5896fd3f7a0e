// Ownkind is the smallest custom orchestrator: an own kind (a fleet of game servers), its reconciler, and an own
// scheduler stage that keeps servers in their fleet's region.
//
//	go run ./examples/ownkind
//	kubectl --kubeconfig ./fleet.kubeconfig get fleets,pods -o wide
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/kubelet"
	"github.com/keelson-dev/keelson/runtime/process"
	"github.com/keelson-dev/keelson/scheduler"
)

// FleetSpec is what a user asks for, FleetStatus what there is.
type FleetSpec struct {
	Servers int      `json:"servers"`
	Region  string   `json:"region,omitempty"`
	Command []string `json:"command"`
}

// FleetStatus counts the servers that run.
type FleetStatus struct {
	Running int `json:"running"`
}

// Fleet is the kind's Go type.
type Fleet = kind.Object[FleetSpec, FleetStatus]

func newFleets() kind.Type[*Fleet] {
	return kind.Must(kind.Define[FleetSpec, FleetStatus]("games.example.com/v1", "Fleet")).With(kind.Strategy{
		Status: true,
		Columns: []kind.Column{
			{Name: "Name", Cell: func(o kind.Instance, _ time.Time) any { return o.GetName() }},
			{Name: "Servers", Type: "integer", Cell: func(o kind.Instance, _ time.Time) any { return int64(o.(*Fleet).Spec.Servers) }},
			{Name: "Running", Type: "integer", Cell: func(o kind.Instance, _ time.Time) any { return int64(o.(*Fleet).Status.Running) }},
		},
	})
}

// region is the scheduler stage: a server goes only to nodes of its fleet's region.
type region struct{}

func (region) Name() string { return "Region" }

func (region) Filter(c *scheduler.Cycle, t *scheduler.Target) *scheduler.Verdict {
	if want := c.Unit.Pod.Labels["region"]; want != "" && want != t.Node.Labels["region"] {
		return scheduler.RejectForGood("node(s) were not in region %s", want)
	}
	return nil
}

// addReconciler makes one pod for each server of a fleet, and counts those that run.
func addReconciler(m *controller.Manager) error {
	fleets := newFleets()
	all, pods := controller.InformerFor(m, fleets), controller.InformerFor(m, kind.Pod)
	_, err := controller.New(m, "fleets", controller.ReconcilerFunc(func(ctx context.Context, key controller.Key) (controller.Result, error) {
		f, ok := all.Get(key.Namespace, key.Name)
		if !ok || f.DeletionTimestamp != nil {
			return controller.Result{}, nil // its pods go with it: it owns them
		}
		running := 0
		for i := range f.Spec.Servers {
			name := fmt.Sprintf("%s-%d", f.Name, i)
			p, ok := pods.Get(f.Namespace, name)
			if ok && p.Status.Phase == corev1.PodRunning {
				running++
			} else if !ok {
				if _, err := client.For(m.Client(), kind.Pod).Create(ctx, server(f, name)); err != nil {
					return controller.Result{}, err
				}
			}
		}
		for i := f.Spec.Servers; ; i++ { // what is too many
			p, ok := pods.Get(f.Namespace, fmt.Sprintf("%s-%d", f.Name, i))
			if !ok {
				break
			}
			if err := client.For(m.Client(), kind.Pod).Delete(ctx, p.Namespace, p.Name, client.IfUID(p.UID)); err != nil {
				return controller.Result{}, err
			}
		}
		_, err := client.For(m.Client(), fleets).MutateStatus(ctx, f.Namespace, f.Name, func(f *Fleet) error { f.Status.Running = running; return nil })
		return controller.Result{}, err
	}), controller.Config{}, controller.For(fleets), controller.Owns(kind.Pod, fleets))
	return err
}

func server(f *Fleet, name string) *corev1.Pod {
	p := kind.Pod.New()
	p.Namespace, p.Name, p.Labels = f.Namespace, name, map[string]string{"region": f.Spec.Region}
	p.Spec.Containers = []corev1.Container{{Name: "server", Image: "game", Command: f.Spec.Command}}
	controller.SetOwner(f, p, newFleets().Kind())
	return p
}

// orchestrator is the whole control plane on the given nodes.
func orchestrator(cfg keelson.Config) (*keelson.Cluster, error) {
	cfg.Kinds = []*kind.Kind{newFleets().Kind()}
	cfg.Controllers = []func(*controller.Manager) error{addReconciler}
	cfg.Stages = []scheduler.Plugin{region{}}
	return keelson.New(cfg)
}

func node(name, region string) keelson.NodeConfig {
	return keelson.NodeConfig{Name: name, Kubelet: kubelet.Config{Labels: map[string]string{"region": region}}}
}

const fleet = `{apiVersion: games.example.com/v1, kind: Fleet, metadata: {name: duel}, spec: {servers: 3, region: eu, command: [sleep, "3600"]}}`

func main() {
	process.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cluster, err := orchestrator(keelson.Config{Listen: "127.0.0.1:0", Nodes: []keelson.NodeConfig{node("rack-1", "eu"), node("rack-2", "us")}})
	if err == nil {
		go demonstrate(ctx, cluster)
		err = cluster.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ownkind:", err)
		os.Exit(1)
	}
}

func demonstrate(ctx context.Context, cluster *keelson.Cluster) {
	kubeconfig, err := cluster.Kubeconfig(ctx)
	if err == nil {
		_, err = client.Apply(ctx, cluster.Client(), cluster.Kinds(), []byte(fleet))
	}
	if err = errors.Join(err, kubeconfig.Write("fleet.kubeconfig")); err != nil {
		fmt.Fprintln(os.Stderr, "ownkind:", err)
		return
	}
	fmt.Println("a fleet of three runs in region eu; try:\n  kubectl --kubeconfig fleet.kubeconfig get fleets,pods -o wide")
}
