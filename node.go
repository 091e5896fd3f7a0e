package keelson

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/keelson-dev/keelson/kubelet"
	kruntime "github.com/keelson-dev/keelson/runtime"
	"github.com/keelson-dev/keelson/runtime/process"
)

// Node is a node agent with its runtime and the server through which the API server reaches its containers. Make one
// with Cluster.NewNode, Run it, and Close it.
type Node struct {
	name     string
	kubelet  *kubelet.Kubelet
	runtime  kruntime.Runtime
	own      *process.Runtime // the runtime, if the node made it and so has to close it
	listener net.Listener
	tls      *tls.Config // nil: the listener is in memory, and nobody else reaches it
	log      *zap.Logger
	ran      atomic.Bool

	temporary string // a directory that Close removes; empty when the cluster has one
}

// NewNode makes a node that lives on its own: it talks to the cluster over HTTPS with a certificate of its own if the
// cluster listens, so that it outlives a restart of the control plane, and in the process otherwise. It waits until
// the cluster is ready. The node's directory belongs to the cluster's DataDir; one process at a time may run a node
// of a name. Without a directory of the cluster's the node has a temporary one, which Close removes.
func (c *Cluster) NewNode(ctx context.Context, cfg NodeConfig) (*Node, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("keelson: NewNode: %w", err)
	}
	if cfg.Runtime == nil && !c.cfg.EmbeddedNetwork {
		return nil, fmt.Errorf("keelson: NewNode: node %s has no Runtime, and the process runtime needs Config.EmbeddedNetwork", cfg.Name)
	}
	if err := c.Ready(ctx); err != nil {
		return nil, err
	}
	cl := c.plane.server.Client(nodeUser(cfg.Name))
	if c.cfg.Listen != "" {
		var err error
		if cl, err = c.nodeClient(cfg.Name); err != nil {
			return nil, fmt.Errorf("keelson: NewNode %s: %w", cfg.Name, err)
		}
	}
	n, err := c.newNode(cl, cfg)
	if err != nil {
		return nil, fmt.Errorf("keelson: NewNode %s: %w", cfg.Name, err)
	}
	return n, nil
}

func nodeUser(name string) authn.User {
	return authn.User{Name: "system:node:" + name, Groups: []string{authn.GroupNodes, authn.GroupAuthenticated}}
}

// newNode assembles a node: directory, addresses, runtime, agent, server.
func (c *Cluster) newNode(cl client.Client, cfg NodeConfig) (_ *Node, err error) {
	n := &Node{name: cfg.Name, runtime: cfg.Runtime, log: c.log.Named("node").With(zap.String("node", cfg.Name))}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	base := c.dir
	if base == "" { // the cluster itself writes nothing
		if n.temporary, err = os.MkdirTemp("", "keelson-"); err != nil {
			return nil, err
		}
		base = n.temporary
	}
	dir := filepath.Join(base, "nodes", cfg.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if n.runtime == nil {
		prefix, err := c.podRange(dir)
		if err != nil {
			return nil, err
		}
		n.own, err = process.New(process.Config{Root: filepath.Join(dir, "runtime"), Addresses: prefix, Images: cfg.Images, Logger: n.log})
		if err != nil {
			return nil, err
		}
		n.runtime = n.own
	}
	kcfg := cfg.Kubelet
	kcfg.NodeName, kcfg.Root, kcfg.Logger = cfg.Name, filepath.Join(dir, "kubelet"), n.log
	if err := c.listenNode(n, &kcfg); err != nil {
		return nil, err
	}
	n.kubelet, err = kubelet.New(cl, n.runtime, kcfg)
	return n, err
}

// listenNode opens the agent's server: on loopback with TLS, or in memory when the cluster opens no socket.
func (c *Cluster) listenNode(n *Node, kcfg *kubelet.Config) error {
	if c.cfg.Listen == "" {
		l := memnet.Listen(n.name)
		n.listener = l
		c.agents.add(n.name, l)
		return nil
	}
	var err error
	if n.tls, err = c.plane.credentials.agentTLS(n.name); err != nil {
		return err
	}
	kcfg.Address = "127.0.0.1"
	if n.listener, err = net.Listen("tcp", net.JoinHostPort(kcfg.Address, "0")); err != nil {
		return err
	}
	kcfg.Port = int32(n.listener.Addr().(*net.TCPAddr).Port)
	kcfg.Authorize = authorizeAgentCall
	return nil
}

// podRange is the addresses of a node's pods. The node's number is noted in its directory, so that it keeps them.
func (c *Cluster) podRange(dir string) (netip.Prefix, error) {
	if c.plane.network == nil {
		return netip.Prefix{}, nil // not Linux
	}
	c.numbers.Lock()
	defer c.numbers.Unlock()
	file := filepath.Join(dir, "number")
	noted, err := os.ReadFile(file)
	if err == nil {
		number, err := strconv.Atoi(strings.TrimSpace(string(noted)))
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%s: want a number: %w", file, err)
		}
		return c.plane.network.pods(number)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return netip.Prefix{}, err
	}
	taken := make(map[string]bool)
	others, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "*", "number"))
	if err != nil {
		return netip.Prefix{}, err
	}
	for _, other := range others {
		data, err := os.ReadFile(other)
		if err != nil {
			return netip.Prefix{}, err
		}
		taken[strings.TrimSpace(string(data))] = true
	}
	number := 0
	for taken[strconv.Itoa(number)] {
		number++
	}
	prefix, err := c.plane.network.pods(number)
	if err != nil {
		return netip.Prefix{}, err
	}
	return prefix, os.WriteFile(file, []byte(strconv.Itoa(number)+"\n"), 0o600)
}

// Name is the node's name.
func (n *Node) Name() string { return n.name }

// Runtime is what runs the node's pods.
func (n *Node) Runtime() kruntime.Runtime { return n.runtime }

// Run runs the agent and its server until ctx ends. The node's pods stay. It returns nil then, or the error of the
// part that failed first. A second call gets ErrAlreadyRun and disturbs nothing.
func (n *Node) Run(ctx context.Context) error {
	if n.ran.Swap(true) {
		return ErrAlreadyRun
	}
	g := newGroup(ctx)
	server := &http.Server{Handler: n.kubelet.Handler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: zap.NewStdLog(n.log.Named("http"))}
	listener := n.listener
	if n.tls != nil {
		listener = tls.NewListener(listener, n.tls)
	}
	g.run("agent", n.kubelet.Run)
	g.run("agent server", func(ctx context.Context) error {
		return serve(ctx, server, listener, time.Second)
	})
	return g.wait()
}

// StopPods ends all pods of the node, each within its grace period, and removes what the runtime keeps of them. Call it
// after Run has returned. It asks the API for nothing: the pods' objects stay, and the next agent starts them anew.
func (n *Node) StopPods(ctx context.Context) error {
	if err := n.kubelet.StopPods(ctx); err != nil {
		return err
	}
	sandboxes, err := n.runtime.ListPodSandbox(ctx, nil)
	if err != nil {
		return err
	}
	errs := make([]error, len(sandboxes))
	var wg sync.WaitGroup
	for i, s := range sandboxes {
		wg.Go(func() { errs[i] = n.runtime.RemovePodSandbox(ctx, s.Id) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Close releases what the node holds. Its pods stay, except those that the process runtime had to supervise in this
// process.
func (n *Node) Close() error {
	var errs []error
	if n.listener != nil {
		if err := n.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if n.own != nil {
		errs = append(errs, n.own.Close(context.Background()))
	}
	if n.temporary != "" {
		errs = append(errs, os.RemoveAll(n.temporary))
	}
	return errors.Join(errs...)
}
