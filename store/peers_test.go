package store_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/keelson-dev/keelson/store"
)

// TestGreeting says hello to a member without TLS: the name that is meant and the cluster must be its own.
func TestGreeting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		listener := memnet.Listen("a")
		s, err := store.Open(ctx, store.Config{
			Name: "a", Peers: []store.Peer{{Name: "a", Addr: "a"}}, Listener: listener, MemoryDisk: &store.MemoryDisk{},
			Dial: func(context.Context, string) (net.Conn, error) { return nil, io.EOF },
		})
		require.NoError(t, err)
		defer s.Close()
		require.NoError(t, s.AddMember(ctx, store.Peer{Name: "b", Addr: "b"}))
		status, err := s.Status(ctx)
		require.NoError(t, err)
		hello := func(kind, version byte, from, to string, cluster, founded uint64) string {
			conn, err := listener.Dial(ctx)
			require.NoError(t, err)
			defer conn.Close()
			text := append([]byte{kind, version, byte(len(from))}, from...)
			text = append(append(text, byte(len(to))), to...)
			_, err = conn.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(text, cluster), founded))
			require.NoError(t, err)
			answer := make([]byte, 1)
			if _, err := io.ReadFull(conn, answer); err != nil {
				return "nothing"
			}
			return map[byte]string{0: "welcome", 1: "stranger", 2: "other", 3: "founders"}[answer[0]]
		}
		require.Equal(t, "welcome", hello('K', 1, "b", "a", status.ClusterID, 0))
		require.Equal(t, "welcome", hello('R', 1, "b", "a", 0, 0), "a member that has not been told yet")
		require.Equal(t, "other", hello('R', 1, "b", "a", status.ClusterID+1, 0))
		require.Equal(t, "other", hello('R', 1, "b", "b", status.ClusterID, 0), "its address is another's now")
		require.Equal(t, "founders", hello('R', 1, "b", "a", 0, 1))
		require.Equal(t, "stranger", hello('R', 1, "c", "a", status.ClusterID, 0))
		require.Equal(t, "nothing", hello('X', 1, "b", "a", 0, 0))
		require.Equal(t, "nothing", hello('K', 2, "b", "a", 0, 0))
	})
}

// TestUpdateMember changes addresses through the running cluster.
func TestUpdateMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation("")
		ctx := t.Context()
		for _, name := range simNames {
			require.NoError(t, sim.open(ctx, name))
			defer func() { require.NoError(t, sim.close(name)) }()
		}
		_, err := sim.member("a").Revision(ctx)
		require.NoError(t, err)
		for _, via := range simNames {
			s := sim.member(via)
			require.ErrorIs(t, s.UpdateMember(ctx, store.Peer{Name: "x", Addr: "x"}), store.ErrMember)
			require.ErrorIs(t, s.UpdateMember(ctx, store.Peer{Name: "a", Addr: "b"}), store.ErrMember)
			require.ErrorIs(t, s.UpdateMember(ctx, store.Peer{Name: "a"}), store.ErrMember)
			require.NoError(t, s.UpdateMember(ctx, store.Peer{Name: "a", Addr: "a"}), "it is there")
		}
		require.NoError(t, sim.member("b").UpdateMember(ctx, store.Peer{Name: "c", Addr: "d"}))
		status, err := sim.member(sim.leader(ctx)).Status(ctx)
		require.NoError(t, err)
		var peers []store.Peer
		for _, m := range status.Members {
			peers = append(peers, m.Peer)
		}
		require.Contains(t, peers, store.Peer{Name: "c", Addr: "d"})
	})
}
