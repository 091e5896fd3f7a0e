package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"go.uber.org/zap"

	"github.com/keelson-dev/keelson/proxy"
)

// ErrUnsupported is the sentinel for a machine that has no IPVS, or does not let us use it.
var ErrUnsupported = errors.New("IPVS is not usable on this machine")

// Config adjusts a dataplane. The zero Config works.
type Config struct {
	// Interface names the dummy interface, which the dataplane owns; empty means keelson-ipvs0.
	Interface string

	// Kernel carries out steps; nil means this machine's.
	Kernel Kernel

	Logger *zap.Logger // nil means none
}

// Kernel is what the dataplane needs of the machine. Each call is one change.
type Kernel interface {
	// Read says what there is: the interface's addresses and all virtual servers.
	Read() (State, error)
	Bind(addr netip.Addr) error
	Unbind(addr netip.Addr) error
	// Put makes a virtual server, or changes it to be so.
	Put(v VirtualServer) error
	Remove(v VirtualServer) error
	Close() error
}

// Dataplane keeps virtual servers. Create it with [New].
type Dataplane struct {
	cfg    Config
	kernel Kernel
	apply  chan struct{} // held (by its one token) by who uses kernel
	closed bool
}

var _ proxy.Dataplane = (*Dataplane)(nil)

// New makes a dataplane. It changes nothing before the first Apply. A machine without IPVS is ErrUnsupported.
func New(cfg Config) (*Dataplane, error) {
	if cfg.Interface == "" {
		cfg.Interface = "keelson-ipvs0"
	}
	if len(cfg.Interface) > 15 {
		return nil, fmt.Errorf("ipvs.Config.Interface: %q is longer than the 15 characters that Linux allows", cfg.Interface)
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	k := cfg.Kernel
	if k == nil {
		var err error
		if k, err = open(cfg.Interface); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
	}
	return &Dataplane{cfg: cfg, kernel: k, apply: make(chan struct{}, 1)}, nil
}

// Apply carries a table out, step by step.
func (d *Dataplane) Apply(ctx context.Context, t proxy.Table) error {
	want, errs := Want(t)
	return errors.Join(append(errs, d.run(ctx, t, want))...)
}

// Remove takes all virtual servers and addresses away.
func (d *Dataplane) Remove(ctx context.Context) error { return d.run(ctx, proxy.Table{}, State{}) }

func (d *Dataplane) run(ctx context.Context, t proxy.Table, want State) error {
	select {
	case d.apply <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-d.apply }()
	if d.closed {
		return errors.New("ipvs dataplane: closed")
	}
	have, err := d.kernel.Read()
	if err != nil {
		return fmt.Errorf("ipvs: %w", err)
	}
	have.sort()
	var errs []error
	ofAddr := func(what string, addr netip.Addr, err error) {
		if err != nil {
			errs = append(errs, errorsOf(t, func(a netip.AddrPort) bool { return a.Addr() == addr }, fmt.Errorf("%s %s: %w", what, addr, err)))
		}
	}
	ofServer := func(what string, v VirtualServer, err error) {
		if err != nil {
			errs = append(errs, errorsOf(t, func(a netip.AddrPort) bool { return a == v.Addr }, fmt.Errorf("%s virtual server %s %s: %w", what, v.Protocol, v.Addr, err)))
		}
	}
	steps := Plan(have, want)
	for _, a := range steps.Bind {
		ofAddr("bind", a, d.kernel.Bind(a))
	}
	for _, v := range steps.Add {
		ofServer("add", v, d.kernel.Put(v))
	}
	for _, v := range steps.Change {
		ofServer("change", v, d.kernel.Put(v))
	}
	for _, v := range steps.Remove {
		ofServer("remove", v, d.kernel.Remove(v))
	}
	for _, a := range steps.Unbind {
		ofAddr("unbind", a, d.kernel.Unbind(a))
	}
	return errors.Join(errs...)
}

// Close releases the handles to the kernel, which keeps the rules. See Remove.
func (d *Dataplane) Close() error {
	d.apply <- struct{}{}
	defer func() { <-d.apply }()
	if d.closed {
		return nil
	}
	d.closed = true
	return d.kernel.Close()
}
