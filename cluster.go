package keelson

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/admission"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authz"
	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/crd"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/nodeproxy"
	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/keelson-dev/keelson/proxy/dns"
	"github.com/keelson-dev/keelson/scheduler"
	"github.com/keelson-dev/keelson/store"
)

// ErrAlreadyRun is returned by a second Run, of a Cluster or a Node.
var ErrAlreadyRun = errors.New("keelson: Run was called before; make a new one")

// ErrStopped is returned by requests to a cluster whose Run has ended.
var ErrStopped = errors.New("keelson: the cluster has stopped")

// Cluster is a control plane and whatever else its Config names. Make it with New and run it with Run.
type Cluster struct {
	cfg     Config
	kinds   *kind.Set
	log     *zap.Logger
	started atomic.Bool
	ready   chan struct{} // closed when plane is set and serves
	stopped chan struct{} // closed when Run has ended
	opened  chan struct{} // closed when plane.store is set

	// Set by Run before ready is closed, and not changed afterwards.
	plane plane
	dir   string // DataDir or a temporary one

	reign   atomic.Pointer[reign] // set before ready is closed
	agents  agents
	numbers sync.Mutex // serializes giving numbers to nodes
}

// plane is the control plane's inside.
type plane struct {
	store       *store.Store
	server      *apiserver.Server
	definitions *crd.Controller
	credentials *credentials // nil without Listen
	network     *network     // nil without the embedded network
	listener    net.Listener // nil without Listen
	dns         *dns.Server  // nil without DNS
}

// New checks a configuration and makes a cluster of it. It starts nothing; the error names the field that is wrong.
func New(cfg Config) (*Cluster, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	kinds, err := kind.NewSet(append(append(builtin.KindsWith(builtin.Options{EmbeddedNetwork: cfg.EmbeddedNetwork}), crd.Type().Kind()), cfg.Kinds...)...)
	if err != nil {
		return nil, fmt.Errorf("keelson: Kinds: %w", err)
	}
	return &Cluster{
		cfg: cfg, kinds: kinds, log: cfg.Logger, ready: make(chan struct{}), stopped: make(chan struct{}), opened: make(chan struct{}),
		agents: agents{listeners: make(map[string]*memnet.Listener)},
	}, nil
}

// Kinds are the kinds that the cluster serves, for client.Apply.
func (c *Cluster) Kinds() *kind.Set { return c.kinds }

// Ready waits until the cluster answers requests: the store is open, the API server serves, and the objects that
// every cluster has are there. It returns ctx's error, or ErrStopped when Run ended before.
func (c *Cluster) Ready(ctx context.Context) error {
	select {
	case <-c.stopped:
		return ErrStopped
	default:
	}
	select {
	case <-c.ready:
		return nil
	case <-c.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Client is the administrator's client, in this process. Requests wait until the cluster is ready.
func (c *Cluster) Client() client.Client { return c.ClientFor(authn.System("admin")) }

// ClientFor is a client that acts as a user.
func (c *Cluster) ClientFor(user authn.User) client.Client { return &lateClient{c, user} }

// Explain says what the scheduler thinks of a pod, or of another unit that Config.Scheduler.Workload is about; see
// scheduler.Scheduler.Explain. It waits until the scheduler knows all nodes and pods.
func (c *Cluster) Explain(ctx context.Context, unit kind.Instance) (*scheduler.Explanation, error) {
	if err := c.Ready(ctx); err != nil {
		return nil, err
	}
	r := c.reign.Load()
	if r.scheduler == nil {
		return nil, errors.New("keelson: this cluster runs without a scheduler")
	}
	if c.cfg.Member != nil {
		select {
		case <-r.manager.Leading():
		default:
			return nil, errors.New("keelson: the scheduler runs at another of the control planes: ask there")
		}
	}
	if err := r.scheduler.Ready(ctx); err != nil {
		return nil, err
	}
	return r.scheduler.Explain(unit)
}

// Store is the store of this control plane, for what concerns its members: adding and removing them, who leads, how far
// each is. It returns ctx's error, or ErrStopped when Run ended before. The store ends with Run.
func (c *Cluster) Store(ctx context.Context) (*store.Store, error) {
	select {
	case <-c.opened:
		return c.plane.store, nil
	case <-c.stopped:
		return nil, ErrStopped
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// URL is the HTTPS API's address, once the cluster is ready; empty when it does not listen.
func (c *Cluster) URL() string {
	select {
	case <-c.ready:
	default:
		return ""
	}
	if c.plane.listener == nil {
		return ""
	}
	return "https://" + reachable(c.plane.listener.Addr())
}

// DNSAddr is the name server's address. It waits until the server listens, and returns ctx's error, or ErrStopped
// when Run ended before.
func (c *Cluster) DNSAddr(ctx context.Context) (netip.AddrPort, error) {
	if err := c.Ready(ctx); err != nil {
		return netip.AddrPort{}, err
	}
	if c.plane.dns == nil {
		return netip.AddrPort{}, errors.New("keelson: the cluster has no name server; set Config.DNS")
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // the server may never come to listen
		select {
		case <-c.stopped:
			cancel()
		case <-waiting.Done():
		}
	}()
	addr, err := c.plane.dns.Addr(waiting)
	if err != nil && ctx.Err() == nil {
		err = ErrStopped
	}
	return addr, err
}

// reachable turns a listening address into one to dial: all addresses become loopback.
func reachable(a net.Addr) string {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil || !ap.Addr().IsUnspecified() {
		return a.String()
	}
	if ap.Addr().Is4() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ap.Port()).String()
	}
	return netip.AddrPortFrom(netip.IPv6Loopback(), ap.Port()).String()
}

// Run runs the cluster until ctx ends or a part fails. It returns nil in the first case, when everything has stopped in
// order, and the part's error in the second.
func (c *Cluster) Run(ctx context.Context) (err error) {
	if c.started.Swap(true) {
		return ErrAlreadyRun
	}
	defer close(c.stopped)
	var undo []func() error // in the order of opening; undone in reverse
	defer func() {
		for i := len(undo) - 1; i >= 0; i-- {
			err = errors.Join(err, undo[i]())
		}
	}()
	remove, err := c.openDir()
	if err != nil {
		return err
	}
	undo = append(undo, remove)
	if c.cfg.EmbeddedNetwork {
		if err := c.openNetwork(ctx); err != nil {
			return endedBy(ctx, fmt.Errorf("keelson: %w", err))
		}
		undo = append(undo, c.plane.network.Close)
	}
	if c.plane.store, err = store.Open(ctx, c.storeConfig()); err != nil {
		return endedBy(ctx, fmt.Errorf("keelson: open the store: %w", err))
	}
	undo = append(undo, c.plane.store.Close)
	close(c.opened)
	if c.cfg.Listen != "" {
		if err := c.listen(ctx); err != nil {
			return endedBy(ctx, fmt.Errorf("keelson: %w", err))
		}
		undo = append(undo, closeListener(c.plane.listener))
	}
	custom := crd.New(crd.Config{})
	if c.plane.server, err = apiserver.New(c.plane.store, c.serverConfig(custom)); err != nil {
		return fmt.Errorf("keelson: %w", err)
	}
	if c.plane.definitions, err = crd.NewController(c.as("apiserver"), custom, c.log.Named("definitions")); err != nil {
		return fmt.Errorf("keelson: %w", err)
	}
	return c.runPlane(ctx)
}

// runPlane runs the API server, and the parts that use it within its lifetime.
func (c *Cluster) runPlane(ctx context.Context) error {
	api := newGroup(context.WithoutCancel(ctx)) // ends when the parts have ended, not with ctx
	api.run("API server", c.plane.server.Run)
	api.run("definitions of custom resources", c.plane.definitions.Run)
	if c.plane.listener != nil {
		api.run("HTTPS", c.serveHTTPS)
	}
	err := c.runParts(ctx, api)
	return errors.Join(err, api.stop())
}

func (c *Cluster) runParts(ctx context.Context, api *group) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(api.ctx, cancel) // a failed API server ends the parts
	if err := c.plane.server.Ready(ctx); err != nil {
		return endedBy(ctx, err)
	}
	if err := c.bootstrap(ctx); err != nil {
		return endedBy(ctx, fmt.Errorf("keelson: create the objects that every cluster has: %w", err))
	}
	p, err := c.newParts()
	if err != nil {
		return errors.Join(fmt.Errorf("keelson: %w", err), p.close())
	}
	if ctx.Err() == nil {
		close(c.ready)
	}
	return errors.Join(p.run(ctx), p.close())
}

// endedBy is nil when an error only says that ctx has ended.
func endedBy(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// openNetwork reserves addresses on Linux; elsewhere there is nothing to reserve, because pods share one.
func (c *Cluster) openNetwork(ctx context.Context) error {
	if goruntime.GOOS != "linux" {
		return nil
	}
	dir := ""
	if c.cfg.DataDir != "" {
		dir = c.dir
	}
	var err error
	c.plane.network, err = reserveNetwork(ctx, dir)
	return err
}

// openDir makes the cluster's directory. The function that it returns removes a temporary one.
func (c *Cluster) openDir() (func() error, error) {
	nothing := func() error { return nil }
	if c.cfg.DataDir != "" {
		dir, err := filepath.Abs(c.cfg.DataDir)
		if err == nil {
			err = os.MkdirAll(dir, 0o700)
		}
		c.dir = dir
		if err != nil {
			return nil, fmt.Errorf("keelson: DataDir: %w", err)
		}
		return nothing, nil
	}
	if len(c.cfg.Nodes) == 0 && !c.cfg.EmbeddedNetwork {
		return nothing, nil // nothing is ever written; a node that comes later brings a directory of its own
	}
	dir, err := os.MkdirTemp("", "keelson-")
	if err != nil {
		return nil, fmt.Errorf("keelson: a temporary directory for nodes: %w", err)
	}
	c.dir = dir
	return func() error { return os.RemoveAll(dir) }, nil
}

func (c *Cluster) storeConfig() store.Config {
	cfg := store.Config{Logger: c.log.Named("store")}
	if c.cfg.DataDir != "" {
		cfg.Dir = filepath.Join(c.dir, "store")
	}
	if m := c.cfg.Member; m != nil {
		cfg.Name, cfg.Peers, cfg.Join, cfg.TLS = m.Name, m.Peers, m.Join, m.TLS
		cfg.Listener, cfg.Dial = m.Listener, m.Dial
		if cfg.Dir == "" {
			cfg.MemoryDisk = m.Disk
		}
	}
	return cfg
}

func (c *Cluster) listen(ctx context.Context) error {
	var dir *os.Root
	if c.cfg.DataDir != "" {
		path := filepath.Join(c.dir, "pki")
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		var err error
		if dir, err = os.OpenRoot(path); err != nil {
			return err
		}
		defer func() { _ = dir.Close() }()
	}
	ca, err := newAuthority(dir)
	if err == nil && c.cfg.Member != nil {
		ca, err = c.shareAuthority(ctx, dir, ca)
	}
	if err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	if c.plane.credentials, err = newCredentials(dir, ca, hostNames(c.cfg.Listen, c.cfg.Hosts)); err != nil {
		return err
	}
	var lc net.ListenConfig
	if c.plane.listener, err = lc.Listen(ctx, "tcp", c.cfg.Listen); err != nil {
		return fmt.Errorf("listen on %s: %w", c.cfg.Listen, err)
	}
	return nil
}

func closeListener(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

func (c *Cluster) serveHTTPS(ctx context.Context) error {
	server := &http.Server{
		Handler:           c.plane.server,
		TLSConfig:         c.plane.credentials.serverTLS(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    1 << 18,

		DisableGeneralOptionsHandler: true, // the API authorizes "OPTIONS *" like everything else
		ErrorLog:                     zap.NewStdLog(c.log.Named("https")),
	}
	return serve(ctx, server, tls.NewListener(c.plane.listener, server.TLSConfig), 500*time.Millisecond)
}

func (c *Cluster) serverConfig(custom *crd.Kinds) apiserver.Config {
	cfg := apiserver.Config{
		Kinds:       c.kinds.All(),
		Definitions: &apiserver.Definitions{Kind: crd.Type().Kind(), Kinds: custom.Of, Same: custom.Same},
		Logger:      c.log.Named("api"),
		AdmissionFrom: func(self client.Client) []admission.Plugin {
			return append(builtin.Plugins(c.serviceRange(), builtin.PortRange{})(self), c.cfg.Admission...)
		},
		AuthorizerFrom: func(self client.Client) authz.Authorizer {
			return authz.Nodes(authz.RBAC(authz.FromClient(self)), self)
		},
		Nodes: &nodeproxy.Config{Dial: c.agents.dial, Logger: c.log.Named("nodes")},
	}
	if cr := c.plane.credentials; cr != nil {
		cfg.Nodes = &nodeproxy.Config{TLS: cr.callerTLS(), Logger: c.log.Named("nodes")}
		cfg.Authenticator = authn.Union(authn.Certificates(cr.ca.Pool()), authn.Tokens(c.cfg.Tokens))
	}
	return cfg
}

// serviceRange is where cluster IPs come from.
func (c *Cluster) serviceRange() netip.Prefix {
	switch {
	case c.cfg.ServiceRange.IsValid():
		return c.cfg.ServiceRange
	case c.plane.network != nil:
		return c.plane.network.services()
	}
	return netip.MustParsePrefix("10.96.0.0/16")
}
