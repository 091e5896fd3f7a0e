package userspace

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/keelson-dev/keelson/proxy"
)

// service is one sort of traffic of one rule: who may be chosen, who has which connections, who stays with whom. It
// outlives tables; its mutex guards memory only.
type service struct {
	dp  *Dataplane
	key serviceKey

	mu       sync.Mutex
	chosen   []netip.AddrPort
	timeout  time.Duration // of affinity; 0 means none
	next     int           // round robin: the index to start from
	affinity map[netip.Addr]stay
	sweepAt  int // size of affinity at which expired entries are swept
	flows    map[netip.AddrPort]*backend
}

// stay is a client's backend and until when it keeps it.
type stay struct {
	backend netip.AddrPort
	until   time.Time
}

// backend holds what runs to one endpoint, while something does.
type backend struct {
	addr    netip.AddrPort
	flows   map[flow]struct{}
	leaving chan struct{} // not nil while it is off the table; closed when it comes back or nothing runs any more
}

// flow is something that runs to a backend and can be cut off: a connection or a session.
type flow interface {
	abort()
	drains() bool // false: ends at once when its backend leaves the table
}

func newService(d *Dataplane, key serviceKey) *service {
	return &service{dp: d, key: key, affinity: map[netip.Addr]stay{}, flows: map[netip.AddrPort]*backend{}, sweepAt: minSweep}
}

const minSweep = 256

// update makes the next pick use the chosen backends of r; a nil r means that the service is gone.
func (s *service) update(chosen []netip.AddrPort, r *proxy.Rule) {
	var cut []flow
	s.mu.Lock()
	s.chosen = chosen
	s.timeout = 0
	if r != nil {
		s.timeout = r.Affinity
	}
	if s.timeout == 0 {
		clear(s.affinity)
	}
	for addr, b := range s.flows {
		if r != nil && slices.ContainsFunc(r.Backends, func(o proxy.Backend) bool { return o.Addr == addr }) {
			b.stay()
			continue
		}
		for f := range b.flows {
			if !f.drains() {
				cut = append(cut, f)
			}
		}
		if b.leaving == nil {
			leaving := make(chan struct{})
			b.leaving = leaving
			s.dp.wg.Go(func() { s.drain(b, leaving) })
		}
	}
	s.mu.Unlock()
	for _, f := range cut {
		f.abort()
	}
}

// stay calls off the draining; the service's mutex is held.
func (b *backend) stay() {
	if b.leaving != nil {
		close(b.leaving)
		b.leaving = nil
	}
}

// drain cuts what still runs to a removed backend when the drain period is over, or the dataplane closes.
func (s *service) drain(b *backend, leaving <-chan struct{}) {
	t := time.NewTimer(s.dp.cfg.Drain)
	defer t.Stop()
	select {
	case <-leaving:
		return
	case <-t.C:
	case <-s.dp.ctx.Done():
	}
	s.mu.Lock()
	var left []flow
	if b.leaving == leaving {
		for f := range b.flows {
			left = append(left, f)
		}
	}
	s.mu.Unlock()
	for _, f := range left {
		f.abort()
	}
}

// candidates are the backends to try for a client, in order: each chosen one once.
func (s *service) candidates(client netip.Addr, now time.Time) []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.chosen)
	if n == 0 {
		return nil
	}
	start := s.next % n
	if s.dp.cfg.Balance == Random {
		start = rand.IntN(n)
	}
	out := make([]netip.AddrPort, 0, n)
	if a, ok := s.affinity[client]; ok && s.timeout > 0 {
		if now.Before(a.until) && slices.Contains(s.chosen, a.backend) {
			out = append(out, a.backend)
		} else {
			delete(s.affinity, client)
		}
	}
	if len(out) == 0 {
		s.next = (start + 1) % n
	}
	for i := range n {
		if b := s.chosen[(start+i)%n]; len(out) == 0 || b != out[0] {
			out = append(out, b)
		}
	}
	return out
}

// begin records that f runs to addr and that the client stays there. It reports false when the backend has left the
// table since it was chosen: then f must not run.
func (s *service) begin(f flow, addr netip.AddrPort, client netip.Addr, now time.Time) (*backend, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.chosen, addr) {
		return nil, false
	}
	b := s.flows[addr]
	if b == nil {
		b = &backend{addr: addr, flows: map[flow]struct{}{}}
		s.flows[addr] = b
	}
	b.flows[f] = struct{}{}
	if s.timeout > 0 {
		s.affinity[client] = stay{addr, now.Add(s.timeout)}
		if len(s.affinity) >= s.sweepAt {
			for c, a := range s.affinity {
				if !now.Before(a.until) {
					delete(s.affinity, c)
				}
			}
			s.sweepAt = max(minSweep, 2*len(s.affinity))
		}
	}
	return b, true
}

// end undoes begin.
func (s *service) end(f flow, b *backend) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(b.flows, f)
	if len(b.flows) == 0 {
		delete(s.flows, b.addr)
		b.stay()
	}
}
