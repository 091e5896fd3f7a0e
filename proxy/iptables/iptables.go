package iptables

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/keelson-dev/keelson/proxy"
)

// ErrUnsupported is the sentinel for a machine that has no iptables, or does not let us use it.
var ErrUnsupported = errors.New("iptables is not usable on this machine")

// Config adjusts a dataplane. The zero Config works.
type Config struct {
	// Tables gives access to a family's tables; nil means the iptables and ip6tables programs.
	Tables func(v6 bool) (Tables, error)

	Logger *zap.Logger // nil means none
}

// Tables is what the dataplane needs of iptables for one family.
type Tables interface {
	// Chains lists the chains of a table.
	Chains(table string) ([]string, error)
	// Restore runs iptables-restore --noflush on a text, whole or, for each table in it, not at all.
	Restore(ctx context.Context, text string) error
	// EnsureFirst puts a jump at the head of a chain unless the chain has it; Forget takes it out of there.
	EnsureFirst(table, chain, jumpTo string) error
	Forget(table, chain, jumpTo string) error
}

// Dataplane keeps rules in iptables. Create it with [New].
type Dataplane struct {
	cfg   Config
	apply chan struct{} // held (by its one token) by who uses families

	families [2]*side // IPv4, IPv6; IPv6 is nil until it is needed
}

// side is one family.
type side struct {
	tables Tables
	text   string   // what was restored last; empty when that is not known
	chains []string // of table nat, made by text
}

var _ proxy.Dataplane = (*Dataplane)(nil)

// New makes a dataplane. It changes nothing before the first Apply. A machine without iptables is ErrUnsupported.
func New(cfg Config) (*Dataplane, error) {
	if cfg.Tables == nil {
		cfg.Tables = open
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	d := &Dataplane{cfg: cfg, apply: make(chan struct{}, 1)}
	tables, err := cfg.Tables(false)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	d.families[0] = &side{tables: tables}
	return d, nil
}

// Apply carries a table out, each family by one run of iptables-restore.
func (d *Dataplane) Apply(ctx context.Context, t proxy.Table) error {
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.unlock()
	var errs []error
	for i, v6 := range []bool{false, true} {
		rs := render(t, v6)
		errs = append(errs, rs.errs...)
		if d.families[i] == nil {
			if !slices.ContainsFunc(t.Rules, func(r proxy.Rule) bool { return r.IPv6 == v6 }) {
				continue
			}
			tables, err := d.cfg.Tables(v6)
			if err != nil {
				for _, r := range t.Rules {
					if r.IPv6 == v6 {
						errs = append(errs, &proxy.RuleError{Rule: r.Name, Err: fmt.Errorf("%w: %w", ErrUnsupported, err)})
					}
				}
				continue
			}
			d.families[i] = &side{tables: tables}
		}
		if err := d.families[i].restore(ctx, rs); err != nil {
			errs = append(errs, fmt.Errorf("iptables: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (s *side) restore(ctx context.Context, rs *ruleset) error {
	if s.text != "" && s.text == rs.text(nil) {
		return nil
	}
	existing := s.chains
	if s.text == "" {
		all, err := s.tables.Chains("nat")
		if err != nil {
			return err
		}
		existing = slices.DeleteFunc(all, func(c string) bool { return !strings.HasPrefix(c, prefix) })
	}
	var stale []string
	for _, c := range existing {
		if _, ok := rs.nat[c]; !ok {
			stale = append(stale, c)
		}
	}
	first := s.text == ""
	s.text, s.chains = "", nil
	if err := s.tables.Restore(ctx, rs.text(stale)); err != nil {
		return err
	}
	if first {
		for _, j := range jumps() {
			if err := s.tables.EnsureFirst(j.table, j.chain, j.to); err != nil {
				return fmt.Errorf("jump from %s/%s to %s: %w", j.table, j.chain, j.to, err)
			}
		}
	}
	s.text, s.chains = rs.text(nil), rs.chains
	return nil
}

// Remove takes all rules and chains away. Apply after it begins anew.
func (d *Dataplane) Remove(ctx context.Context) error {
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.unlock()
	var errs []error
	for _, s := range d.families {
		if s != nil {
			errs = append(errs, s.remove(ctx))
		}
	}
	return errors.Join(errs...)
}

func (s *side) remove(ctx context.Context) error {
	s.text, s.chains = "", nil
	for _, j := range jumps() {
		if err := s.tables.Forget(j.table, j.chain, j.to); err != nil {
			return fmt.Errorf("iptables: remove the jump from %s/%s: %w", j.table, j.chain, err)
		}
	}
	var b strings.Builder
	for _, table := range []string{"nat", "filter"} {
		all, err := s.tables.Chains(table)
		if err != nil {
			return fmt.Errorf("iptables: %w", err)
		}
		ours := slices.DeleteFunc(all, func(c string) bool { return !strings.HasPrefix(c, prefix) })
		fmt.Fprintf(&b, "*%s\n", table)
		for _, c := range ours {
			fmt.Fprintf(&b, ":%s - [0:0]\n", c)
		}
		for _, c := range ours {
			fmt.Fprintf(&b, "-X %s\n", c)
		}
		b.WriteString("COMMIT\n")
	}
	return s.tables.Restore(ctx, b.String())
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
