package userspace

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/proxy"
)

// counted is a flow that counts how often it was cut.
type counted struct{ cut atomic.Int32 }

func (c *counted) abort()       { c.cut.Add(1) }
func (c *counted) drains() bool { return true }

func TestDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := New(Config{Drain: time.Minute})
		require.NoError(t, err)
		s := newService(d, serviceKey{})
		a, from := netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddr("10.1.1.1")
		listed := &proxy.Rule{Backends: []proxy.Backend{{Addr: a}}}
		chosen := []netip.AddrPort{a}

		s.update(chosen, listed)
		f := &counted{}
		b, ok := s.begin(f, a, from, time.Now())
		require.True(t, ok)
		s.update(nil, listed)
		_, ok = s.begin(&counted{}, a, from, time.Now())
		require.False(t, ok, "it was dialed before it left the choice, and must not run")
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Zero(t, f.cut.Load(), "listed: it may go on")

		// Flapping: each time it comes back before the drain is over.
		for range 5 {
			s.update(nil, &proxy.Rule{})
			time.Sleep(59 * time.Second)
			s.update(chosen, listed)
			time.Sleep(time.Hour)
		}
		synctest.Wait()
		require.Zero(t, f.cut.Load())

		s.update(nil, nil)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		require.Zero(t, f.cut.Load())
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.EqualValues(t, 1, f.cut.Load())
		s.end(f, b)
		require.Empty(t, s.flows)
		require.NoError(t, d.Close())
	})
}

func TestAffinityIsForgottenWhenItIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := New(Config{})
		require.NoError(t, err)
		s := newService(d, serviceKey{})
		a := netip.MustParseAddrPort("10.0.0.1:80")
		s.update([]netip.AddrPort{a}, &proxy.Rule{Affinity: time.Minute, Backends: []proxy.Backend{{Addr: a}}})
		for i := range 4 * minSweep {
			f := &counted{}
			b, ok := s.begin(f, a, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), time.Now())
			require.True(t, ok)
			s.end(f, b)
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, len(s.affinity), 2*minSweep, "clients that left don't pile up")
		require.NoError(t, d.Close())
	})
}
