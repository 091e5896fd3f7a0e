package store_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// TestSoleVoter reads without asking anybody while a member is the only voter, and not a moment longer: when it can
// have been deposed, it has to ask, and when it is alone again, it need not.
func TestSoleVoter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		net := newSimnet()
		open := func(name string, join bool, peers ...store.Peer) *store.Store {
			s, err := store.Open(ctx, store.Config{
				Name: name, Peers: append(peers, store.Peer{Name: name, Addr: name}), Join: join,
				Listener: net.listen(name), Dial: net.dial(name), MemoryDisk: &store.MemoryDisk{},
			})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			return s
		}
		put := func(s *store.Store, value string) {
			t.Helper()
			_, err := s.Put(ctx, store.PutRequest{Key: []byte("k"), Value: []byte(value)})
			require.NoError(t, err)
		}
		read := func(s *store.Store, within time.Duration) (string, error) {
			ctx, cancel := context.WithTimeout(ctx, within)
			defer cancel()
			kv, _, err := s.Get(ctx, []byte("k"))
			return string(kv.Value), err
		}
		a := open("a", false)
		put(a, "1")
		require.True(t, a.LeadsAlone())
		start := time.Now()
		value, err := read(a, time.Second)
		require.NoError(t, err)
		require.Equal(t, "1", value)
		require.Zero(t, time.Since(start))

		require.NoError(t, a.AddMember(ctx, store.Peer{Name: "b", Addr: "b"}))
		b := open("b", true, store.Peer{Name: "a", Addr: "a"})
		value, err = read(b, 10*time.Second)
		require.NoError(t, err)
		require.Equal(t, "1", value)
		<-time.After(2 * time.Second)
		require.Contains(t, voters(t, a), "b")
		require.False(t, a.LeadsAlone())

		// The one that led is cut off at the moment when the other is told to lead: it must not serve what it has.
		net.block(direction{"a", "b"}, direction{"b", "a"})
		_, err = read(a, 100*time.Millisecond)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		net.freeAll(false)
		require.NoError(t, a.TransferLeadership(ctx, "b"))
		put(b, "2")
		value, err = read(a, 10*time.Second)
		require.NoError(t, err)
		require.Equal(t, "2", value)
		require.False(t, b.LeadsAlone())

		require.NoError(t, b.TransferLeadership(ctx, "a"))
		require.NoError(t, a.RemoveMember(ctx, "b"))
		<-time.After(time.Second)
		require.True(t, a.LeadsAlone())
		require.False(t, b.LeadsAlone())
		put(a, "3")
		value, err = read(a, time.Second)
		require.NoError(t, err)
		require.Equal(t, "3", value)
	})
}
