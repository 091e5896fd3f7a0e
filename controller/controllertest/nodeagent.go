package controllertest

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// NodeAgent adjusts [AddNodeAgent]. Its functions are called from other goroutines, again each second (of virtual
// time, in a bubble) as long as they say no.
type NodeAgent struct {
	Ready func(p *corev1.Pod) bool // whether a pod becomes ready now; nil means each does at once
	Gone  func(p *corev1.Pod) bool // whether a pod that is being deleted has ended; nil means at once
}

// AddNodeAgent adds to cp's manager, before Start, a stand-in for the agents of all nodes: pods that are bound to a
// node run, become ready, and end when they are deleted. Pods that ended are left alone, so a test ends one through
// MutateStatus. Faults don't touch it.
func AddNodeAgent(cp *ControlPlane, agent NodeAgent) {
	cp.t.Helper()
	pods := controller.InformerFor(cp.Manager, kind.Pod)
	typed := client.For(cp.Client, kind.Pod)
	_, err := controller.New(cp.Manager, "node-agent", controller.ReconcilerFunc(func(ctx context.Context, key controller.Key) (controller.Result, error) {
		p, ok := pods.Get(key.Namespace, key.Name)
		if !ok || p.Spec.NodeName == "" {
			return controller.Result{}, nil
		}
		if p.DeletionTimestamp != nil {
			if agent.Gone != nil && !agent.Gone(p) {
				return controller.Result{RequeueAfter: time.Second}, nil
			}
			if p.DeletionGracePeriodSeconds != nil && *p.DeletionGracePeriodSeconds == 0 {
				return controller.Result{}, nil // finalizers hold it
			}
			err := typed.Delete(ctx, p.Namespace, p.Name, client.GracePeriod(0), client.IfUID(p.UID))
			if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
				err = nil
			}
			return controller.Result{}, err
		}
		if controller.PodEnded(p) {
			return controller.Result{}, nil
		}
		ready := agent.Ready == nil || agent.Ready(p)
		_, err := typed.MutateStatus(ctx, p.Namespace, p.Name, func(now *corev1.Pod) error {
			if now.UID == p.UID && !controller.PodEnded(now) {
				setReady(now, ready)
			}
			return nil
		})
		if apierrors.IsNotFound(err) {
			err = nil
		}
		if ready {
			return controller.Result{}, err
		}
		return controller.Result{RequeueAfter: time.Second}, err
	}), controller.Config{Workers: 4}, controller.For(kind.Pod))
	if err != nil {
		cp.t.Fatalf("controllertest: add the node agent: %v", err)
	}
}

func setReady(p *corev1.Pod, ready bool) {
	p.Status.Phase = corev1.PodRunning
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReady {
			if c.Status != status {
				c.Status, c.LastTransitionTime = status, metav1.Now()
			}
			return
		}
	}
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.Now()})
}
