package keelson

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/controller/deployment"
	"github.com/keelson-dev/keelson/controller/endpointslice"
	"github.com/keelson-dev/keelson/controller/garbage"
	"github.com/keelson-dev/keelson/controller/job"
	"github.com/keelson-dev/keelson/controller/namespace"
	"github.com/keelson-dev/keelson/controller/nodelifecycle"
	"github.com/keelson-dev/keelson/controller/podgc"
	"github.com/keelson-dev/keelson/controller/replicaset"
	"github.com/keelson-dev/keelson/proxy"
	"github.com/keelson-dev/keelson/proxy/dns"
	"github.com/keelson-dev/keelson/proxy/userspace"
	"github.com/keelson-dev/keelson/scheduler"
	"github.com/keelson-dev/keelson/scheduler/plugins"
)

// parts are what runs over the API server: each knows it as a client only.
type parts struct {
	cluster   *Cluster
	manager   *controller.Manager
	scheduler *scheduler.Scheduler // nil: left out
	proxy     *proxy.Proxy         // nil: left out
	recorder  *controller.Recorder // of the proxy
	dataplane *userspace.Dataplane // nil unless made here
	dns       *dns.Server          // nil: left out
	nodes     []*Node
}

// newParts makes what the configuration asks for. It returns what it made also with an error, to be closed.
func (c *Cluster) newParts() (*parts, error) {
	p := &parts{cluster: c}
	if err := p.makeManager(); err != nil {
		return p, err
	}
	if c.cfg.Without&Scheduler == 0 {
		cfg := c.cfg.Scheduler
		cfg.Logger = c.log.Named("scheduler")
		var err error
		if p.scheduler, err = scheduler.New(c.as("kube-scheduler"), append(plugins.Default(), c.cfg.Stages...), cfg); err != nil {
			return p, err
		}
		c.plane.scheduler = p.scheduler
	}
	if err := p.makeProxy(); err != nil {
		return p, err
	}
	if c.cfg.DNS != "" {
		var err error
		if p.dns, err = dns.New(c.as("dns"), dns.Config{Addr: c.cfg.DNS, Logger: c.log.Named("dns")}); err != nil {
			return p, err
		}
		c.plane.dns = p.dns
	}
	for _, cfg := range c.cfg.Nodes {
		n, err := c.newNode(c.plane.server.Client(nodeUser(cfg.Name)), cfg)
		if err != nil {
			return p, fmt.Errorf("node %s: %w", cfg.Name, err)
		}
		p.nodes = append(p.nodes, n)
	}
	return p, nil
}

// as is the client of one of the cluster's own parts.
func (c *Cluster) as(part string) client.Client { return c.plane.server.Client(authn.System(part)) }

func (p *parts) makeManager() error {
	c := p.cluster
	var err error
	p.manager, err = controller.NewManager(c.as("kube-controller-manager"), controller.ManagerConfig{Logger: c.log.Named("controller")})
	if err != nil {
		return err
	}
	if c.cfg.Without&Controllers == 0 {
		err = errors.Join(
			deployment.New(p.manager, deployment.Config{}),
			replicaset.New(p.manager, replicaset.Config{}),
			job.New(p.manager, job.Config{}),
			endpointslice.New(p.manager, endpointslice.Config{}),
			garbage.New(p.manager, garbage.Config{Kinds: c.kinds}),
			namespace.New(p.manager, namespace.Config{Kinds: c.kinds}),
			nodelifecycle.New(p.manager, c.cfg.NodeLifecycle),
			podgc.New(p.manager, podgc.Config{}),
		)
	}
	for _, add := range c.cfg.Controllers {
		err = errors.Join(err, add(p.manager))
	}
	return err
}

func (p *parts) makeProxy() error {
	c := p.cluster
	if c.cfg.Proxy == nil {
		return nil
	}
	dataplane := c.cfg.Proxy.Dataplane
	if dataplane == nil {
		var err error
		if p.dataplane, err = userspace.New(userspace.Config{Logger: c.log.Named("proxy")}); err != nil {
			return err
		}
		dataplane = p.dataplane
	}
	cl := c.as("kube-proxy")
	p.recorder = controller.NewRecorder(cl, "kube-proxy", "")
	var err error
	p.proxy, err = proxy.New(cl, dataplane, proxy.Config{
		EveryNode: true, // all nodes of the embedded network are this machine
		Logger:    c.log.Named("proxy"),
		Report: func(svc *corev1.Service, reason, message string) {
			p.recorder.Event(svc, corev1.EventTypeWarning, reason, "%s", message)
		},
	})
	return err
}

// run runs the parts until ctx ends or one fails: nodes stop first, so that what they report last is still served.
func (p *parts) run(ctx context.Context) error {
	rest := newGroup(context.WithoutCancel(ctx))
	rest.run("controllers", p.manager.Run)
	if p.scheduler != nil {
		rest.run("scheduler", p.scheduler.Run)
	}
	if p.proxy != nil {
		rest.run("proxy", p.proxy.Run)
		rest.run("proxy events", p.recorder.Run)
	}
	if p.dns != nil {
		rest.run("DNS", p.dns.Run)
	}
	nodes := newGroup(ctx)
	for _, n := range p.nodes {
		nodes.run("node "+n.name, n.Run)
	}
	select {
	case <-nodes.ctx.Done():
	case <-rest.ctx.Done():
	}
	err := nodes.stop()
	if p.cluster.cfg.StopPods || p.cluster.cfg.DataDir == "" {
		err = errors.Join(err, p.stopPods(context.WithoutCancel(ctx)))
	}
	return errors.Join(err, rest.stop())
}

// stopPods ends the pods of all nodes side by side.
func (p *parts) stopPods(ctx context.Context) error {
	g := newGroup(ctx)
	for _, n := range p.nodes {
		g.wg.Go(func() {
			start := time.Now()
			if err := n.StopPods(ctx); err != nil {
				g.mu.Lock()
				g.err = errors.Join(g.err, fmt.Errorf("node %s: stop its pods: %w", n.name, err))
				g.mu.Unlock()
				return
			}
			n.log.Debug("stopped all pods", zap.Duration("took", time.Since(start)))
		})
	}
	return g.wait()
}

func (p *parts) close() error {
	var errs []error
	for _, n := range p.nodes {
		errs = append(errs, n.Close())
	}
	if p.dataplane != nil {
		errs = append(errs, p.dataplane.Close())
	}
	return errors.Join(errs...)
}
