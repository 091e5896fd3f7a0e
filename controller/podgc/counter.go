package podgc

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/controller"
)

// counter removes ended pods beyond a threshold. It has one key.
type counter struct {
	pods      *reconciler
	threshold int
}

func newCounter(m *controller.Manager, cfg Config, r *reconciler) error {
	c := &counter{pods: r, threshold: cfg.TerminatedThreshold}
	run, err := controller.New(m, "podgc-ended", c, controller.Config{MaxDelay: cfg.CheckEvery})
	if err != nil {
		return err
	}
	r.pods.OnChange(func(old, now *corev1.Pod) {
		if now != nil && controller.PodEnded(now) && (old == nil || !controller.PodEnded(old)) {
			run.EnqueueAfter(controller.Key{Name: "ended"}, cfg.CheckEvery) // earlier ones stay in force
		}
	})
	return nil
}

// Reconcile implements controller.Reconciler.
func (c *counter) Reconcile(ctx context.Context, _ controller.Key) (controller.Result, error) {
	var errs []error
	for _, p := range surplus(c.pods.pods.ByIndex(byEnded, "yes"), c.threshold) {
		if err := ctx.Err(); err != nil {
			return controller.Result{}, err
		}
		if p.DeletionTimestamp == nil {
			errs = append(errs, c.pods.remove(ctx, p, "too many pods have ended"))
		}
	}
	return controller.Result{}, errors.Join(errs...)
}
