package keelson

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// reservationPort is bound on the first address of the network for as long as a cluster holds it, so that two clusters
// of one machine never share addresses, whichever user runs them.
const reservationPort = 40400

// reservationWait is how long a cluster waits for the network that it had before: the process that held it may be about
// to end.
const reservationWait = 5 * time.Second

// network is a reserved 127.N.0.0/16.
type network struct {
	prefix netip.Prefix
	holder net.Listener
}

// reserveNetwork takes the network noted in dir, or a free one, and notes it. dir "" notes nothing.
func reserveNetwork(ctx context.Context, dir string) (*network, error) {
	if dir != "" {
		noted, err := os.ReadFile(filepath.Join(dir, "network"))
		if err == nil {
			return reserveNoted(ctx, strings.TrimSpace(string(noted)))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	for _, n := range rand.Perm(192) {
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{127, byte(n + 32), 0, 0}), 16)
		holder, err := hold(ctx, prefix)
		if err != nil {
			continue
		}
		if dir != "" {
			if err := os.WriteFile(filepath.Join(dir, "network"), []byte(prefix.String()+"\n"), 0o600); err != nil {
				return nil, errors.Join(err, holder.Close())
			}
		}
		return &network{prefix, holder}, nil
	}
	return nil, errors.New("embedded network: none of 127.32.0.0/16 to 127.223.0.0/16 is free on this machine")
}

func reserveNoted(ctx context.Context, noted string) (*network, error) {
	prefix, err := netip.ParsePrefix(noted)
	if err != nil || prefix.Bits() != 16 || !prefix.Addr().Is4() || !prefix.Addr().IsLoopback() {
		return nil, fmt.Errorf("embedded network: the data directory's file network says %q, want a prefix such as 127.40.0.0/16", noted)
	}
	ctx, cancel := context.WithTimeout(ctx, reservationWait)
	defer cancel()
	for {
		holder, err := hold(ctx, prefix)
		if err == nil {
			return &network{prefix, holder}, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("embedded network: %s belongs to this data directory but is in use; does another process run this cluster? %w", prefix, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func hold(ctx context.Context, prefix netip.Prefix) (net.Listener, error) {
	a := prefix.Addr().As4()
	a[3] = 1
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp4", netip.AddrPortFrom(netip.AddrFrom4(a), reservationPort).String())
}

// pods is the prefix of the i-th node's pods.
func (n *network) pods(i int) (netip.Prefix, error) {
	if i < 0 || i >= 224 {
		return netip.Prefix{}, fmt.Errorf("embedded network: node number %d, want 0 to 223", i)
	}
	a := n.prefix.Addr().As4()
	a[2] = byte(16 + i)
	return netip.PrefixFrom(netip.AddrFrom4(a), 24), nil
}

// services is the prefix of cluster IPs.
func (n *network) services() netip.Prefix {
	a := n.prefix.Addr().As4()
	a[2] = 240
	return netip.PrefixFrom(netip.AddrFrom4(a), 20)
}

func (n *network) Close() error {
	if n == nil {
		return nil
	}
	return n.holder.Close()
}
