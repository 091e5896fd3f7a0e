package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller/deployment"
)

const ns, app = "quickstart", "web"

func (d *demo) apply(ctx context.Context) (string, error) {
	objects, err := client.Apply(ctx, d.client, d.cluster.Kinds(), manifest)
	if err != nil {
		return "", err
	}
	kinds := make([]string, len(objects))
	for i, o := range objects {
		kinds[i] = o.GetObjectKind().GroupVersionKind().Kind
	}
	return strings.Join(kinds, ", "), nil
}

func (d *demo) rollout(ctx context.Context) (string, error) {
	if err := d.rolledOut(ctx, 3, "v1"); err != nil {
		return "", err
	}
	svc, err := client.For(d.client, kind.Service).Get(ctx, ns, app)
	if err != nil {
		return "", err
	}
	d.service = "http://" + net.JoinHostPort(svc.Spec.ClusterIP, "8080") + "/"
	pods, err := d.pods(ctx)
	if err != nil {
		return "", err
	}
	spread, err := d.reached(ctx, 30, names(pods))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("30 requests to %s: %s", svc.Spec.ClusterIP, counts(spread)), nil
}

func (d *demo) kill(ctx context.Context) (string, error) {
	pods, err := d.pods(ctx)
	if err != nil {
		return "", err
	}
	victim := pods[0]
	pid, err := d.pid(ctx, victim)
	if err != nil {
		return "", err
	}
	if process, err := os.FindProcess(pid); err != nil {
		return "", err
	} else if err := process.Kill(); err != nil {
		return "", fmt.Errorf("kill process %d of %s: %w", pid, victim.Name, err)
	}
	if err := d.await(ctx, func(pods []*corev1.Pod) bool {
		return slices.ContainsFunc(pods, func(p *corev1.Pod) bool {
			return p.Name == victim.Name && restarts(p) > restarts(victim) && ready(p)
		})
	}); err != nil {
		return "", fmt.Errorf("pod %s was not restarted: %w", victim.Name, err)
	}
	again, err := d.pid(ctx, victim)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s was process %d and is now %d, restarted once", victim.Name, pid, again), nil
}

func (d *demo) loseNode(ctx context.Context) (string, error) {
	before, err := d.pods(ctx)
	if err != nil {
		return "", err
	}
	if err := d.stopNode("node-b"); err != nil {
		return "", err
	}
	if err := d.await(ctx, func(pods []*corev1.Pod) bool {
		return len(readyOn(pods, "node-a")) == 3
	}); err != nil {
		return "", fmt.Errorf("the pods of node-b did not move: %w", err)
	}
	after, err := d.pods(ctx)
	if err != nil {
		return "", err
	}
	if _, err := d.reached(ctx, 30, names(after)); err != nil {
		return "", err
	}
	moved := len(readyOn(before, "node-b"))
	if err := d.startNode(ctx, "node-b"); err != nil {
		return "", err
	}
	if err := d.nodesReady(ctx, "node-a", "node-b"); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d of its pods moved to node-a, where 3 run; then node-b came back", moved), nil
}

func (d *demo) update(ctx context.Context) (string, error) {
	load, err := d.underLoad(ctx, func() error {
		if _, err := client.For(d.client, kind.Deployment).Mutate(ctx, ns, app, func(dep *appsv1.Deployment) error {
			dep.Spec.Template.Spec.Containers[0].Image = "quickstart/server:v2"
			return nil
		}); err != nil {
			return err
		}
		if err := d.rolledOut(ctx, 3, "v2"); err != nil {
			return err
		}
		if err := deployment.Rollback(ctx, d.client, ns, app, 0); err != nil {
			return err
		}
		return d.rolledOut(ctx, 3, "v1")
	})
	if err != nil {
		return "", err
	}
	if load.versions["v1"] == 0 || load.versions["v2"] == 0 {
		return "", fmt.Errorf("the requests should have met both versions: %s", counts(load.versions))
	}
	return fmt.Sprintf("%d requests meanwhile, none failed: %s", load.total(), counts(load.versions)), nil
}

func (d *demo) scale(ctx context.Context) (string, error) {
	for _, n := range []int32{5, 1} {
		if err := client.For(d.client, kind.Deployment).Scale(ctx, ns, app, n); err != nil {
			return "", err
		}
		if err := d.rolledOut(ctx, int(n), "v1"); err != nil {
			return "", err
		}
	}
	return "5 ready, then 1", nil
}

func (d *demo) restart(ctx context.Context) (string, error) {
	before, err := d.pods(ctx)
	if err != nil {
		return "", err
	}
	pid, err := d.pid(ctx, before[0])
	if err != nil {
		return "", err
	}
	d.plane.stop()
	if err := d.failed(); err != nil {
		return "", err
	}
	if err := d.startPlane(ctx); err != nil {
		return "", err
	}
	if err := d.nodesReady(ctx, "node-a", "node-b"); err != nil {
		return "", err
	}
	after, err := d.pods(ctx)
	if err != nil {
		return "", err
	}
	again, err := d.pid(ctx, before[0])
	if err != nil {
		return "", err
	}
	if len(after) != 1 || after[0].UID != before[0].UID || restarts(after[0]) != restarts(before[0]) || again != pid {
		return "", fmt.Errorf("the pod was %s (process %d) and is %v (process %d)", before[0].Name, pid, names(after), again)
	}
	if _, err := d.reached(ctx, 3, names(after)); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s is still process %d, and answers", after[0].Name, pid), nil
}

func (d *demo) remove(ctx context.Context) (string, error) {
	pods, err := d.pods(ctx)
	if err != nil {
		return "", err
	}
	pid, err := d.pid(ctx, pods[0])
	if err != nil {
		return "", err
	}
	if err := client.For(d.client, kind.Namespace).Delete(ctx, "", ns); err != nil {
		return "", err
	}
	if err := poll(ctx, func() (bool, error) {
		_, err := client.For(d.client, kind.Namespace).Get(ctx, "", ns)
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	}); err != nil {
		return "", err
	}
	for _, k := range d.cluster.Kinds().All() {
		if !k.Namespaced {
			continue
		}
		resp, err := d.client.Do(ctx, &client.Request{Verb: client.List, Kind: k, Namespace: ns})
		if err != nil {
			return "", err
		}
		if len(resp.Items) > 0 {
			return "", fmt.Errorf("%d %s are left in the namespace", len(resp.Items), k)
		}
	}
	if err := d.nothingRuns(ctx); err != nil {
		return "", err
	}
	if process, err := os.FindProcess(pid); err != nil {
		return "", err
	} else if err := process.Signal(syscall.Signal(0)); !errors.Is(err, os.ErrProcessDone) {
		return "", fmt.Errorf("process %d still exists (%v)", pid, err)
	}
	return "no object and no process is left", nil
}
