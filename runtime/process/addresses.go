package process

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// addresses hands out pod addresses of a prefix in turn, so that an address rests as long as possible before it is used
// again. The first and the last address of the prefix stay unused.
type addresses struct {
	prefix netip.Prefix

	mu   sync.Mutex
	next netip.Addr
	used map[netip.Addr]bool
}

// newAddresses checks the prefix; the zero prefix is replaced by one chosen by seed.
func newAddresses(prefix netip.Prefix, seed string) (*addresses, error) {
	if !prefix.IsValid() {
		h := fnv.New32a()
		h.Write([]byte(seed))
		n := h.Sum32() % (1 << 11) // a /20 in 127.128.0.0/9
		prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 128 | byte(n>>4), byte(n<<4) & 0xf0, 0}), 20)
	}
	loopback := netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8)
	if !prefix.Addr().Is4() || !loopback.Contains(prefix.Addr()) || prefix.Bits() < 8 || prefix.Bits() > 30 {
		return nil, fmt.Errorf("process: Config.Addresses is %s: want an IPv4 prefix inside 127.0.0.0/8 with at least four addresses", prefix)
	}
	prefix = prefix.Masked()
	return &addresses{prefix: prefix, next: prefix.Addr().Next(), used: map[netip.Addr]bool{}}, nil
}

func (a *addresses) take() (netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := a.prefix.Addr().Next()
	for addr, turns := a.next, 0; turns < 2; addr = addr.Next() {
		if !a.prefix.Contains(addr.Next()) { // addr is the last one, or beyond
			addr = first
			turns++
		}
		if !a.used[addr] {
			a.used[addr] = true
			a.next = addr.Next()
			return addr, nil
		}
	}
	return netip.Addr{}, status.Errorf(codes.ResourceExhausted, "all %d pod addresses of %s are in use", len(a.used), a.prefix)
}

// claim marks the address of a recovered pod as used.
func (a *addresses) claim(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used[addr] = true
	if a.prefix.Contains(addr) && addr.Compare(a.next) >= 0 {
		a.next = addr.Next()
	}
}

func (a *addresses) release(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.used, addr)
}
