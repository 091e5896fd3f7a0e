package job

import (
	"context"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// Config adjusts the controller.
type Config struct {
	Workers int // how many Jobs are reconciled side by side; 0 means 4
	Burst   int // how many pods one reconcile creates or deletes at most; 0 means 500
}

// New registers the controller with a manager.
func New(m *controller.Manager, cfg Config) error {
	if cfg.Workers == 0 {
		cfg.Workers = 4
	}
	_, err := controller.New(m, "job", controller.ReconcilerFunc(func(context.Context, controller.Key) (controller.Result, error) {
		return controller.Result{}, nil
	}), controller.Config{Workers: cfg.Workers}, controller.For(kind.Job), controller.Owns(kind.Pod, kind.Job))
	return err
}
