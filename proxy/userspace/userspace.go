package userspace

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/proxy"
)

// ErrClosed is the sentinel for use after Close.
var ErrClosed = errors.New("userspace dataplane: closed")

// Balance is how new connections are spread.
type Balance int

// The ways to spread connections.
const (
	RoundRobin Balance = iota // each backend in turn
	Random                    // each with the same probability
)

// Config adjusts a dataplane. The zero Config works.
type Config struct {
	// NodeAddress is where node ports listen; the zero Addr means 127.0.0.1. Node ports of the other family are
	// ignored.
	NodeAddress netip.Addr

	Balance Balance

	// DialTimeout bounds one attempt to reach a backend; 0 means 3 s, negative is an error.
	DialTimeout time.Duration
	// Drain is how long a connection may go on after its backend left the table; 0 means 30 s.
	Drain time.Duration
	// IdleUDP ends a UDP session that had no datagram either way for so long; 0 means 60 s.
	IdleUDP time.Duration
	// MaxConnections bounds the open TCP connections of all Services together; 0 means 8192.
	MaxConnections int
	// MaxSessions bounds the UDP sessions of all Services together; 0 means 4096.
	MaxSessions int

	Logger *zap.Logger // nil means none
}

func (c *Config) complete() error {
	for _, d := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
	}{{"DialTimeout", &c.DialTimeout, 3 * time.Second}, {"Drain", &c.Drain, 30 * time.Second}, {"IdleUDP", &c.IdleUDP, time.Minute}} {
		if *d.value < 0 {
			return fmt.Errorf("userspace.Config.%s: %s is negative; 0 means %s", d.name, *d.value, d.zero)
		}
		if *d.value == 0 {
			*d.value = d.zero
		}
	}
	for _, n := range []struct {
		name  string
		value *int
		zero  int
	}{{"MaxConnections", &c.MaxConnections, 8192}, {"MaxSessions", &c.MaxSessions, 4096}} {
		if *n.value < 0 {
			return fmt.Errorf("userspace.Config.%s: %d is negative; 0 means %d", n.name, *n.value, n.zero)
		}
		if *n.value == 0 {
			*n.value = n.zero
		}
	}
	if c.Balance != RoundRobin && c.Balance != Random {
		return fmt.Errorf("userspace.Config.Balance: %d is neither RoundRobin nor Random", c.Balance)
	}
	if !c.NodeAddress.IsValid() {
		c.NodeAddress = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return nil
}

// frontend is one address that connections come to.
type frontend struct {
	protocol corev1.Protocol
	addr     netip.AddrPort
}

// Dataplane forwards in this process. Create it with [New].
type Dataplane struct {
	cfg         Config
	connections chan struct{} // one token per open TCP connection
	sessions    chan struct{} // one token per UDP session

	apply chan struct{} // held (by its one token) while a table is carried out or the dataplane closes

	// Owned by the holder of apply.
	closed    bool
	listeners map[frontend]listener
	services  map[serviceKey]*service

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

var _ proxy.Dataplane = (*Dataplane)(nil)

// serviceKey tells the two sorts of traffic of a rule apart: they may have different backends.
type serviceKey struct {
	rule     proxy.Key
	external bool
}

// listener is an open socket; serve passes it the service that it serves from now on.
type listener interface {
	serve(s *service)
	close() // stops accepting; what was accepted goes on
}

// New makes a dataplane that serves nothing until the first Apply.
func New(cfg Config) (*Dataplane, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Dataplane{
		cfg:         cfg,
		connections: make(chan struct{}, cfg.MaxConnections),
		sessions:    make(chan struct{}, cfg.MaxSessions),
		apply:       make(chan struct{}, 1),
		listeners:   map[frontend]listener{},
		services:    map[serviceKey]*service{},
		ctx:         ctx,
		cancel:      cancel,
	}, nil
}

// Apply serves what t says. Its error joins a *proxy.RuleError for each address that can't be listened on.
func (d *Dataplane) Apply(ctx context.Context, t proxy.Table) error {
	select {
	case d.apply <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-d.apply }()
	if d.closed {
		return ErrClosed
	}

	services := make(map[serviceKey]*service, len(d.services))
	wanted := make(map[frontend]*service, len(d.listeners))
	var order []frontend
	var errs []error
	for i := range t.Rules {
		r := &t.Rules[i]
		for _, f := range d.frontends(r) {
			key := serviceKey{r.Key(), f.external}
			if r.Protocol != corev1.ProtocolTCP && r.Protocol != corev1.ProtocolUDP {
				errs = append(errs, &proxy.RuleError{Rule: r.Name, Err: fmt.Errorf("protocol %s is not supported in userspace, only TCP and UDP are", r.Protocol)})
				break
			}
			if other, taken := wanted[f.frontend]; taken {
				errs = append(errs, &proxy.RuleError{Rule: r.Name, Err: fmt.Errorf("%s %s belongs to service port %s already", r.Protocol, f.addr, other.key.rule.Name)})
				continue
			}
			s, ok := services[key]
			if !ok {
				if s, ok = d.services[key]; !ok {
					s = newService(d, key)
				}
				services[key] = s
				chosen := r.Internal
				if f.external {
					chosen = r.External
				}
				s.update(chosen, r)
			}
			wanted[f.frontend] = s
			order = append(order, f.frontend)
		}
	}

	// Close first: an address may have gone from one rule's node port to another's external address.
	for f, l := range d.listeners {
		if wanted[f] == nil {
			l.close()
			delete(d.listeners, f)
		}
	}
	for _, f := range order {
		s := wanted[f]
		if l, ok := d.listeners[f]; ok {
			l.serve(s)
			continue
		}
		l, err := d.listen(f, s)
		if err != nil {
			errs = append(errs, &proxy.RuleError{Rule: s.key.rule.Name, Err: err})
			continue
		}
		d.listeners[f] = l
	}
	for key, s := range d.services {
		if services[key] == nil {
			s.update(nil, nil)
		}
	}
	d.services = services
	return errors.Join(errs...)
}

type ruleFrontend struct {
	frontend
	external bool
}

func (d *Dataplane) frontends(r *proxy.Rule) []ruleFrontend {
	var out []ruleFrontend
	for _, a := range r.ClusterIPs {
		out = append(out, ruleFrontend{frontend{r.Protocol, a}, false})
	}
	for _, a := range r.ExternalIPs {
		out = append(out, ruleFrontend{frontend{r.Protocol, a}, true})
	}
	if r.NodePort != 0 && d.cfg.NodeAddress.Is6() == r.IPv6 {
		out = append(out, ruleFrontend{frontend{r.Protocol, netip.AddrPortFrom(d.cfg.NodeAddress, r.NodePort)}, true})
	}
	return out
}

func (d *Dataplane) listen(f frontend, s *service) (listener, error) {
	var l listener
	var err error
	if f.protocol == corev1.ProtocolUDP {
		l, err = d.listenUDP(f.addr, s)
	} else {
		l, err = d.listenTCP(f.addr, s)
	}
	if err == nil {
		d.cfg.Logger.Debug("listening", zap.Stringer("service", s.key.rule.Name), zap.Stringer("address", f.addr))
		return l, nil
	}
	switch {
	case errors.Is(err, syscall.EACCES):
		err = fmt.Errorf("%w: this process may not bind a port that low; use a higher port, grant CAP_NET_BIND_SERVICE or lower net.ipv4.ip_unprivileged_port_start", err)
	case errors.Is(err, syscall.EADDRINUSE):
		err = fmt.Errorf("%w: another program listens there; it is tried again", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		err = fmt.Errorf("%w: this machine has no such address; on Linux Services can live in 127.0.0.0/8", err)
	}
	return nil, err
}

// Close stops listening, resets every connection and waits until all goroutines have ended. A second Close does
// nothing.
func (d *Dataplane) Close() error {
	d.cancel()
	d.apply <- struct{}{}
	defer func() { <-d.apply }()
	if !d.closed {
		d.closed = true
		for f, l := range d.listeners {
			l.close()
			delete(d.listeners, f)
		}
		for _, s := range d.services {
			s.update(nil, nil)
		}
	}
	d.wg.Wait()
	return nil
}

// Listening lists the addresses that are served, as network/address, sorted: for introspection.
func (d *Dataplane) Listening() []string {
	d.apply <- struct{}{}
	defer func() { <-d.apply }()
	var out []string
	for f := range d.listeners {
		out = append(out, network(f.protocol)+"/"+f.addr.String())
	}
	slices.Sort(out)
	return out
}

func network(p corev1.Protocol) string {
	if p == corev1.ProtocolUDP {
		return "udp"
	}
	return "tcp"
}
