package nftables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"go.uber.org/zap"
	"sigs.k8s.io/knftables"

	"github.com/keelson-dev/keelson/proxy"
)

// Config adjusts a dataplane. The zero Config works.
type Config struct {
	// Table names the nftables table, which the dataplane owns; empty means keelson.
	Table string

	// PodCIDRs are the addresses of pods: connections to cluster IPs from elsewhere are masqueraded, so that answers
	// find their way back. None means that no connection to a cluster IP is.
	PodCIDRs []netip.Prefix

	// NFT runs transactions; nil means the nft program. A *knftables.Fake of family inet works too.
	NFT knftables.Interface

	Logger *zap.Logger // nil means none
}

func (c *Config) podCIDRs(v6 bool) []string {
	var out []string
	for _, p := range c.PodCIDRs {
		if p.Addr().Is6() == v6 {
			out = append(out, p.Masked().String())
		}
	}
	return out
}

// Dataplane keeps an nftables table. Create it with [New].
type Dataplane struct {
	cfg   Config
	nft   knftables.Interface
	apply chan struct{} // held (by its one token) by who uses applied

	applied *ruleset // what the kernel has; nil when that is not known
}

var _ proxy.Dataplane = (*Dataplane)(nil)

// New makes a dataplane. It changes nothing before the first Apply. A machine without nftables is ErrUnsupported.
func New(cfg Config) (*Dataplane, error) {
	if cfg.Table == "" {
		cfg.Table = "keelson"
	}
	for _, p := range cfg.PodCIDRs {
		if !p.IsValid() {
			return nil, errors.New("nftables.Config.PodCIDRs: an invalid prefix; want such as 10.244.0.0/16")
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	nft := cfg.NFT
	if nft == nil {
		var err error
		if nft, err = knftables.New(knftables.InetFamily, cfg.Table); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
	}
	return &Dataplane{cfg: cfg, nft: nft, apply: make(chan struct{}, 1)}, nil
}

// Apply carries a table out in one transaction.
func (d *Dataplane) Apply(ctx context.Context, t proxy.Table) error {
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.unlock()
	now, errs := render(t, d.cfg)
	tx := d.nft.NewTransaction()
	transaction(tx, d.applied, now)
	err := error(nil)
	if tx.NumOperations() > 0 {
		err = d.nft.Run(ctx, tx)
	}
	if err != nil && d.applied != nil && ctx.Err() == nil {
		// Somebody else changed the table, or it is gone: put the whole of it there.
		d.cfg.Logger.Warn("the table is not as it was left, replacing it", zap.Error(err))
		tx = d.nft.NewTransaction()
		transaction(tx, nil, now)
		err = d.nft.Run(ctx, tx)
	}
	if err != nil {
		d.applied = nil
		return fmt.Errorf("nftables: %w", err)
	}
	d.applied = now
	return errors.Join(errs...)
}

// Remove deletes the table, and all rules with it. Apply after it begins anew.
func (d *Dataplane) Remove(ctx context.Context) error {
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.unlock()
	d.applied = nil
	tx := d.nft.NewTransaction()
	tx.Add(&knftables.Table{}) // so that deleting it is no error when it is not there
	tx.Delete(&knftables.Table{})
	if err := d.nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("nftables: remove the table %s: %w", d.cfg.Table, err)
	}
	return nil
}

// Close does nothing: the kernel keeps the rules. See Remove.
func (d *Dataplane) Close() error { return nil }

func (d *Dataplane) lock(ctx context.Context) error {
	select {
	case d.apply <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *Dataplane) unlock() { <-d.apply }
