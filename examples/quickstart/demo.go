package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/apiserver/client/https"
	"github.com/keelson-dev/keelson/controller/nodelifecycle"
	"github.com/keelson-dev/keelson/kubelet"
	"github.com/keelson-dev/keelson/runtime/process"
)

// tearDownLimit bounds the end: pods get their grace, 5 s.
const tearDownLimit = 30 * time.Second

// demo is the cluster of the tour. Its nodes talk HTTPS to the control plane, as they would from other machines, and so
// outlive its restart.
type demo struct {
	dir     string
	listen  string // the API's address: a free port at first, the same one after the restart
	cluster *keelson.Cluster
	plane   running
	nodes   map[string]*member
	client  *https.Client
	service string // the Service's address
	ended   chan error
}

// running is a part with a Run method that was started.
type running struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// member is a node that was started.
type member struct {
	running
	node *keelson.Node
}

// launch runs f until stop. An error before that ends the tour.
func (d *demo) launch(name string, f func(context.Context) error) running {
	ctx, cancel := context.WithCancel(context.Background())
	r := running{cancel, make(chan struct{})}
	go func() {
		defer close(r.done)
		if err := f(ctx); err != nil {
			d.ended <- fmt.Errorf("%s: %w", name, err)
		}
	}()
	return r
}

func (r running) stop() {
	if r.cancel != nil {
		r.cancel()
		<-r.done
	}
}

// failed tells whether a part ended by itself.
func (d *demo) failed() error {
	select {
	case err := <-d.ended:
		return err
	default:
		return nil
	}
}

func (d *demo) start(ctx context.Context) (string, error) {
	d.ended = make(chan error, 16)
	d.nodes = make(map[string]*member)
	d.listen = "127.0.0.1:0"
	if err := d.startPlane(ctx); err != nil {
		return "", err
	}
	d.listen = strings.TrimPrefix(d.cluster.URL(), "https://")
	for _, name := range []string{"node-a", "node-b"} {
		if err := d.startNode(ctx, name); err != nil {
			return "", err
		}
	}
	if err := d.nodesReady(ctx, "node-a", "node-b"); err != nil {
		return "", err
	}
	return fmt.Sprintf("the API is at %s; node-a and node-b are Ready", d.cluster.URL()), nil
}

// startPlane starts store, API server, controllers, scheduler and proxy.
func (d *demo) startPlane(ctx context.Context) error {
	cluster, err := keelson.New(keelson.Config{
		DataDir:         filepath.Join(d.dir, "cluster"),
		Listen:          d.listen,
		EmbeddedNetwork: true,
		Proxy:           &keelson.ProxyConfig{},
		// A node that is silent for two seconds counts as lost: this tour has no time for the usual forty.
		NodeLifecycle: nodelifecycle.Config{GracePeriod: 2 * time.Second, CheckEvery: 200 * time.Millisecond},
	})
	if err != nil {
		return err
	}
	d.cluster = cluster
	d.plane = d.launch("control plane", cluster.Run)
	if err := d.orFailure(ctx, cluster.Ready); err != nil {
		return err
	}
	cfg, err := cluster.Kubeconfig(ctx)
	if err != nil {
		return err
	}
	if err := d.closeClient(); err != nil {
		return err
	}
	d.client, err = https.New(https.Config{Server: cfg.Server, CAData: cfg.CAData, CertData: cfg.CertData, KeyData: cfg.KeyData})
	return err
}

// startNode starts a node agent with the process runtime.
func (d *demo) startNode(ctx context.Context, name string) error {
	n, err := d.cluster.NewNode(ctx, keelson.NodeConfig{
		Name:    name,
		Images:  process.ResolverFunc(image),
		Kubelet: kubelet.Config{HeartbeatEvery: 500 * time.Millisecond, RestartDelay: 500 * time.Millisecond},
	})
	if err != nil {
		return err
	}
	d.nodes[name] = &member{d.launch(name, n.Run), n}
	return nil
}

// image makes this program the only image there is: quickstart/server, whose tag is the version that it reports.
func image(_ context.Context, name string) (process.Image, error) {
	tag, ok := strings.CutPrefix(name, "quickstart/server:")
	if !ok {
		return process.Image{}, fmt.Errorf("no image %q here; there is only quickstart/server:TAG", name)
	}
	self, err := os.Executable()
	if err != nil {
		return process.Image{}, err
	}
	return process.Image{Entrypoint: []string{self, "serve"}, Env: []string{"VERSION=" + tag}, MountRoot: mountRoot}, nil
}

// stopNode takes a node away as a power cut would, except that its processes get their grace: agent and pods are gone,
// and nobody told the control plane.
func (d *demo) stopNode(name string) error {
	m := d.nodes[name]
	delete(d.nodes, name)
	return m.end()
}

// end stops the agent, then the pods.
func (m *member) end() error {
	m.stop()
	ctx, cancel := context.WithTimeout(context.Background(), tearDownLimit)
	defer cancel()
	return errors.Join(m.node.StopPods(ctx), m.node.Close())
}

// orFailure waits for something, or for the failure of a part.
func (d *demo) orFailure(ctx context.Context, wait func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- wait(ctx) }()
	select {
	case err := <-done:
		if failure := d.failed(); failure != nil {
			return failure
		}
		return err
	case err := <-d.ended:
		return err
	}
}

// tearDown stops everything that still runs, the pods included.
func (d *demo) tearDown() error {
	errs := make(chan error, len(d.nodes))
	for _, m := range d.nodes {
		go func() { errs <- m.end() }()
	}
	var err error
	for range d.nodes {
		err = errors.Join(err, <-errs)
	}
	d.plane.stop()
	return errors.Join(err, d.failed(), d.closeClient())
}

func (d *demo) closeClient() error {
	if d.client == nil {
		return nil
	}
	c := d.client
	d.client = nil
	return c.Close()
}
