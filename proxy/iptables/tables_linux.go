package iptables

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/coreos/go-iptables/iptables"
)

// programs is iptables' own programs.
type programs struct {
	ipt     *iptables.IPTables
	restore string
}

func open(v6 bool) (Tables, error) {
	family, name := iptables.ProtocolIPv4, "iptables-restore"
	if v6 {
		family, name = iptables.ProtocolIPv6, "ip6tables-restore"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, err
	}
	ipt, err := iptables.New(iptables.IPFamily(family), iptables.Timeout(5))
	if err != nil {
		return nil, err
	}
	p := &programs{ipt, path}
	if _, err := p.Chains("nat"); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *programs) Chains(table string) ([]string, error) { return p.ipt.ListChains(table) }

func (p *programs) EnsureFirst(table, chain, jumpTo string) error {
	return p.ipt.InsertUnique(table, chain, 1, "-j", jumpTo)
}

func (p *programs) Forget(table, chain, jumpTo string) error {
	return p.ipt.DeleteIfExists(table, chain, "-j", jumpTo)
}

func (p *programs) Restore(ctx context.Context, text string) error {
	cmd := exec.CommandContext(ctx, p.restore, "--noflush", "-w", "5")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", p.restore, err, strings.TrimSpace(string(out)))
	}
	return nil
}
