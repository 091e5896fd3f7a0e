package keelson

import (
	"context"
	"errors"

	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/controller/deployment"
	"github.com/keelson-dev/keelson/controller/disruption"
	"github.com/keelson-dev/keelson/controller/endpointslice"
	"github.com/keelson-dev/keelson/controller/garbage"
	"github.com/keelson-dev/keelson/controller/job"
	"github.com/keelson-dev/keelson/controller/namespace"
	"github.com/keelson-dev/keelson/controller/nodelifecycle"
	"github.com/keelson-dev/keelson/controller/podgc"
	"github.com/keelson-dev/keelson/controller/replicaset"
	"github.com/keelson-dev/keelson/scheduler"
	"github.com/keelson-dev/keelson/scheduler/plugins"
)

// reign is what one control plane at a time runs: the controllers and the scheduler. One that is alone runs them
// always; several elect who does, by the Lease kube-system/keelson, and each reign has a new manager and scheduler, since
// these run once.
type reign struct {
	manager   *controller.Manager
	scheduler *scheduler.Scheduler // nil: left out
}

// newReign makes the next reign. It does not begin before this control plane is elected.
func (c *Cluster) newReign() error {
	cfg := controller.ManagerConfig{Logger: c.log.Named("controller")}
	if c.cfg.Member != nil {
		cfg.LeaderElection = &controller.LeaderElection{Name: "keelson", Identity: c.cfg.Member.Name}
	}
	var err error
	r := &reign{}
	if r.manager, err = controller.NewManager(c.as("kube-controller-manager"), cfg); err != nil {
		return err
	}
	if c.cfg.Without&Controllers == 0 {
		err = errors.Join(
			deployment.New(r.manager, deployment.Config{}),
			replicaset.New(r.manager, replicaset.Config{}),
			job.New(r.manager, job.Config{}),
			endpointslice.New(r.manager, endpointslice.Config{}),
			garbage.New(r.manager, garbage.Config{Kinds: c.kinds}),
			namespace.New(r.manager, namespace.Config{Kinds: c.kinds, Now: c.plane.server.Kinds}),
			nodelifecycle.New(r.manager, c.cfg.NodeLifecycle),
			podgc.New(r.manager, podgc.Config{}),
			disruption.New(r.manager, disruption.Config{}),
		)
	}
	for _, add := range c.cfg.Controllers {
		err = errors.Join(err, add(r.manager))
	}
	if err == nil && c.cfg.Without&Scheduler == 0 {
		cfg := c.cfg.Scheduler
		cfg.Logger = c.log.Named("scheduler")
		r.scheduler, err = scheduler.New(c.as("kube-scheduler"), append(plugins.Default(), c.cfg.Stages...), cfg)
	}
	if err != nil {
		return err
	}
	if r.scheduler != nil && c.cfg.Member != nil {
		r.manager.Add(r.scheduler)
	}
	c.reign.Store(r)
	return nil
}

// runReigns runs one after the other, until ctx ends or something fails.
func (c *Cluster) runReigns(ctx context.Context) error {
	for {
		err := c.reign.Load().manager.Run(ctx)
		if ctx.Err() != nil || !errors.Is(err, controller.ErrLeadershipLost) {
			return err
		}
		c.log.Info("another control plane leads now, or this one could not renew its lease; it stands for election again")
		if err := c.newReign(); err != nil {
			return err
		}
	}
}
