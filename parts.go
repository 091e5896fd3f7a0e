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
	"github.com/keelson-dev/keelson/proxy"
	"github.com/keelson-dev/keelson/proxy/dns"
	"github.com/keelson-dev/keelson/proxy/userspace"
)

// parts are what runs over the API server: each knows it as a client only.
type parts struct {
	cluster   *Cluster
	proxy     *proxy.Proxy         // nil: left out
	recorder  *controller.Recorder // of the proxy
	dataplane *userspace.Dataplane // nil unless made here
	dns       *dns.Server          // nil: left out
	nodes     []*Node
}

// newParts makes what the configuration asks for. It returns what it made also with an error, to be closed.
func (c *Cluster) newParts() (*parts, error) {
	p := &parts{cluster: c}
	if err := c.newReign(); err != nil {
		return p, err
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
	rest.run("controllers", p.cluster.runReigns)
	if s := p.cluster.reign.Load().scheduler; s != nil && p.cluster.cfg.Member == nil {
		rest.run("scheduler", s.Run)
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
