package storetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// Leader is the Opener of the leading member of a cluster of three, in memory.
func Leader(t *testing.T, cfg store.Config) (Store, error) { return openCluster(t, cfg, 0) }

// Follower is the Opener of a member of a cluster of three that does not lead.
func Follower(t *testing.T, cfg store.Config) (Store, error) { return openCluster(t, cfg, 1) }

// inCluster is a member that closes the others with itself.
type inCluster struct {
	Store
	close func() error
}

func (c *inCluster) Close() error { return c.close() }

// openCluster has one member begin and two others join it.
func openCluster(t *testing.T, cfg store.Config, use int) (Store, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	peers := []store.Peer{{Name: "a", Addr: "a"}, {Name: "b", Addr: "b"}, {Name: "c", Addr: "c"}}
	listeners := map[string]*memnet.Listener{}
	for _, p := range peers {
		listeners[p.Addr] = memnet.Listen(p.Addr)
	}
	cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return listeners[addr].Dial(ctx) }
	var members []*store.Store
	closeAll := sync.OnceValue(func() (err error) {
		for i := range members {
			err = errors.Join(err, members[len(members)-1-i].Close())
		}
		return err
	})
	for i, p := range peers {
		if i > 0 {
			if err := members[0].AddMember(ctx, p); err != nil {
				return nil, errors.Join(err, closeAll())
			}
			cfg.Restore = nil
		}
		cfg.Name, cfg.Peers, cfg.Join = p.Name, peers[:i+1], i > 0
		cfg.Listener, cfg.MemoryDisk = listeners[p.Addr], &store.MemoryDisk{}
		s, err := store.Open(ctx, cfg)
		if err != nil {
			return nil, errors.Join(err, closeAll())
		}
		members = append(members, s)
	}
	for voters := 0; voters < len(peers); {
		status, err := members[0].Status(ctx)
		require.NoError(t, err)
		voters = 0
		for _, m := range status.Members {
			if m.Voter {
				voters++
			}
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("%d of %d members vote: %w", voters, len(peers), ctx.Err()), closeAll())
		case <-time.After(5 * time.Millisecond):
		}
	}
	if _, err := members[use].Revision(ctx); err != nil {
		return nil, errors.Join(err, closeAll())
	}
	return &inCluster{members[use], closeAll}, nil
}

// Sole is the Opener of a member that has a name and no others: a cluster of one, which others could join.
func Sole(t *testing.T, cfg store.Config) (Store, error) {
	t.Helper()
	cfg.Name, cfg.Peers = "a", []store.Peer{{Name: "a", Addr: "a"}}
	cfg.Listener, cfg.MemoryDisk = memnet.Listen("a"), &store.MemoryDisk{}
	return store.Open(t.Context(), cfg)
}
