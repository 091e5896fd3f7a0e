package store_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/storetest"
	"github.com/stretchr/testify/require"
)

func TestLeader(t *testing.T) { storetest.Run(t, storetest.Leader) }

func TestFollower(t *testing.T) { storetest.Run(t, storetest.Follower) }

func TestSole(t *testing.T) { storetest.Run(t, storetest.Sole) }

func voters(t *testing.T, s *store.Store) (names []string) {
	t.Helper()
	status, err := s.Status(t.Context())
	require.NoError(t, err)
	for _, m := range status.Members {
		if m.Voter {
			names = append(names, m.Name)
		}
	}
	return names
}

// TestMembership replaces every member of a cluster, the leader too, while writes go on.
func TestMembership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation("")
		ctx := t.Context()
		for _, name := range simNames {
			require.NoError(t, sim.open(ctx, name))
		}
		defer func() {
			for _, name := range sim.all() {
				require.NoError(t, sim.close(name))
			}
		}()
		_, err := sim.member("b").Put(ctx, store.PutRequest{Key: []byte("k"), Value: []byte("v")})
		require.NoError(t, err)
		require.ErrorIs(t, sim.member("a").AddMember(ctx, store.Peer{Name: "a", Addr: "elsewhere"}), store.ErrMember)
		require.ErrorIs(t, sim.member("b").AddMember(ctx, store.Peer{Name: "x", Addr: "a"}), store.ErrMember)
		require.ErrorIs(t, sim.member("c").TransferLeadership(ctx, "x"), store.ErrMember)
		for i, old := range simNames {
			fresh := fmt.Sprint("new", i)
			via := sim.member("c") // goes last
			require.NoError(t, via.AddMember(ctx, store.Peer{Name: fresh, Addr: fresh}))
			require.NoError(t, via.AddMember(ctx, store.Peer{Name: fresh, Addr: fresh}), "again")
			require.NotContains(t, voters(t, via), fresh, "it has not caught up yet")
			require.NoError(t, sim.join(ctx, fresh))
			kv, _, err := sim.member(fresh).Get(ctx, []byte("k"))
			require.NoError(t, err)
			require.Equal(t, "v", string(kv.Value))
			<-time.After(time.Second)
			require.Contains(t, voters(t, sim.member(fresh)), fresh)
			require.NoError(t, sim.member(old).TransferLeadership(ctx, old), "the one that goes leads")
			require.NoError(t, sim.member(fresh).RemoveMember(ctx, old))
			<-time.After(time.Second) // until the followers have heard of it
			require.Len(t, voters(t, sim.member(fresh)), 3)
			opCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
			_, err = sim.member(old).Put(opCtx, store.PutRequest{Key: []byte("late")})
			require.Error(t, err, "it is no member any more")
			cancel()
			require.NoError(t, sim.close(old))
			_, err = sim.member(fresh).Put(ctx, store.PutRequest{Key: []byte("k"), Value: []byte("v")})
			require.NoError(t, err)
		}
		<-time.After(3 * time.Second)
		status, err := sim.member("new0").Status(ctx)
		require.NoError(t, err)
		leader := sim.member(status.LeaderName)
		status, err = leader.Status(ctx)
		require.NoError(t, err)
		require.True(t, status.Leader)
		require.Len(t, status.Members, 3)
		for _, m := range status.Members {
			require.True(t, m.Known && m.Voter && !m.Diverged, "%+v", m)
			require.Zero(t, m.Lag)
			require.Equal(t, m.Name == status.Name, m.Leader)
		}
	})
}

// TestRollingRestart restarts every member, leaders first too, while clients write at all of them: nothing is lost,
// and nothing fails but what was asked of a member that was just closing.
func TestRollingRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation("")
		ctx := t.Context()
		for _, name := range simNames {
			require.NoError(t, sim.open(ctx, name))
		}
		running, stop := context.WithCancel(ctx)
		var clients sync.WaitGroup
		var mu sync.Mutex
		acked, failed := map[string]bool{}, 0
		for id := range 9 {
			clients.Go(func() {
				for i := 0; running.Err() == nil; i++ {
					key := fmt.Sprintf("%d/%d", id, i)
					s := sim.member(simNames[id%3])
					if s == nil {
						pause(running, 10*time.Millisecond)
						continue
					}
					opCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
					_, err := s.Put(opCtx, store.PutRequest{Key: []byte(key)})
					cancel()
					mu.Lock()
					if err == nil {
						acked[key] = true
					} else {
						failed++
						require.ErrorIs(t, err, store.ErrClosed)
					}
					mu.Unlock()
					pause(running, 5*time.Millisecond)
				}
			})
		}
		for range 2 {
			for _, name := range simNames {
				<-time.After(300 * time.Millisecond)
				require.NoError(t, sim.close(name))
				<-time.After(100 * time.Millisecond)
				require.NoError(t, sim.open(ctx, name))
				_, err := sim.member(name).Revision(ctx)
				require.NoError(t, err)
			}
		}
		stop()
		clients.Wait()
		require.Greater(t, len(acked), 1000)
		for _, name := range simNames {
			res, err := sim.member(name).Range(ctx, store.RangeRequest{Key: []byte{0}, End: []byte{0}})
			require.NoError(t, err)
			has := map[string]bool{}
			for _, kv := range res.KVs {
				has[string(kv.Key)] = true
				require.EqualValues(t, 1, kv.Version, "applied once")
			}
			for key := range acked {
				require.True(t, has[key], key)
			}
		}
		t.Logf("%d writes acknowledged, %d failed at a closing member", len(acked), failed)
		for _, name := range simNames {
			require.NoError(t, sim.close(name))
		}
	})
}

// TestSnapshotWhileWatching leaves a member behind until it has to be sent a snapshot: its watchers see all the same
// every revision once, or ErrCompacted where history is gone.
func TestSnapshotWhileWatching(t *testing.T) {
	for _, compacted := range []bool{false, true} {
		t.Run(fmt.Sprint(compacted), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := newSimulation("")
				ctx := t.Context()
				for _, name := range simNames {
					require.NoError(t, sim.open(ctx, name))
				}
				defer func() {
					for _, name := range simNames {
						require.NoError(t, sim.close(name))
					}
				}()
				_, err := sim.member("a").Revision(ctx)
				require.NoError(t, err)
				leader := sim.leader(ctx)
				behind := simNames[0]
				if behind == leader {
					behind = simNames[1]
				}
				_, err = sim.member(behind).Put(ctx, store.PutRequest{Key: []byte("k")})
				require.NoError(t, err)
				w, err := sim.member(behind).Watch(ctx, store.WatchRequest{Key: []byte{0}, End: []byte{0}, Revision: 2})
				require.NoError(t, err)
				defer w.Close()
				in, out := around(behind)
				sim.net.block(append(in, out...)...)
				for range 300 {
					_, err := sim.member(leader).Put(ctx, store.PutRequest{Key: []byte("k")})
					require.NoError(t, err)
				}
				if compacted {
					require.NoError(t, sim.member(leader).Compact(ctx, 250))
				}
				require.NoError(t, sim.member(leader).Compacting())
				sim.net.freeAll(true)
				revision, err := sim.member(behind).Revision(ctx)
				require.NoError(t, err)
				require.EqualValues(t, 302, revision)
				for next := int64(2); next <= revision; {
					batch, err := w.Next(ctx)
					if compacted && next == 3 {
						require.ErrorIs(t, err, store.ErrCompacted)
						return
					}
					require.NoError(t, err)
					for _, e := range batch.Events {
						require.Equal(t, next, e.KV.ModRevision)
						next++
					}
				}
				require.False(t, compacted, "history that is gone was not missed")
			})
		})
	}
}

// authority issues certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{key, cert, pool}
}

func (a *authority) issue(t *testing.T, name string) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key.Public(), a.key)
	require.NoError(t, err)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: a.pool, ClientCAs: a.pool,
	}
}

// TestTLS has members with certificates work together, and refuses all others.
func TestTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		ca, other := newAuthority(t), newAuthority(t)
		listeners := map[string]*memnet.Listener{}
		peers := []store.Peer{{Name: "a", Addr: "a"}, {Name: "b", Addr: "b"}, {Name: "c", Addr: "c"}}
		for _, p := range peers {
			listeners[p.Addr] = memnet.Listen(p.Addr)
		}
		var members []*store.Store
		for _, p := range peers {
			s, err := store.Open(ctx, store.Config{
				Name: p.Name, Peers: peers, Listener: listeners[p.Addr], MemoryDisk: &store.MemoryDisk{}, TLS: ca.issue(t, p.Name),
				Dial: func(ctx context.Context, addr string) (net.Conn, error) { return listeners[addr].Dial(ctx) },
			})
			require.NoError(t, err)
			members = append(members, s)
		}
		_, err := members[1].Put(ctx, store.PutRequest{Key: []byte("k"), Value: []byte("v")})
		require.NoError(t, err)
		kv, _, err := members[2].Get(ctx, []byte("k"))
		require.NoError(t, err)
		require.Equal(t, "v", string(kv.Value))

		hello := func(cfg *tls.Config, name string) error {
			raw, err := listeners["a"].Dial(ctx)
			require.NoError(t, err)
			defer raw.Close()
			conn := raw
			if cfg != nil {
				cfg.ServerName, cfg.NextProtos = "a", []string{"keelson-store"}
				conn = tls.Client(raw, cfg)
			}
			if _, err := conn.Write(append(append([]byte{'K', 1, byte(len(name))}, name...), append([]byte{1, 'a'}, make([]byte, 16)...)...)); err != nil {
				return err
			}
			answer := make([]byte, 1)
			if _, err := conn.Read(answer); err != nil {
				return err
			}
			if answer[0] != 0 {
				return fmt.Errorf("answer %d", answer[0])
			}
			return nil
		}
		require.NoError(t, hello(ca.issue(t, "b"), "b"), "the check itself works")
		require.Error(t, hello(ca.issue(t, "b"), "c"), "another's name")
		require.Error(t, hello(ca.issue(t, "x"), "x"), "no member")
		require.Error(t, hello(ca.issue(t, "x"), "b"), "a member's name with a certificate of somebody else")
		stranger := other.issue(t, "b")
		stranger.RootCAs = ca.pool
		require.Error(t, hello(stranger, "b"), "another authority")
		bare := ca.issue(t, "b")
		bare.Certificates = nil
		require.Error(t, hello(bare, "b"), "no certificate")
		old := ca.issue(t, "b")
		old.MaxVersion = tls.VersionTLS12
		require.Error(t, hello(old, "b"), "TLS 1.2")
		require.Error(t, hello(nil, "b"), "no TLS")
		for _, s := range members {
			require.NoError(t, s.Close())
		}
	})
}

// TestMemberOnDisk opens a member again from its directory, which nobody may open without its name.
func TestMemberOnDisk(t *testing.T) {
	cfg := store.Config{Dir: t.TempDir(), Name: "a", Peers: []store.Peer{{Name: "a", Addr: "a"}}}
	for round := range 3 {
		cfg.Listener = memnet.Listen("a")
		s, err := store.Open(t.Context(), cfg)
		require.NoError(t, err)
		res := everything(t, s)
		require.Len(t, res.KVs, round)
		_, err = s.Put(t.Context(), store.PutRequest{Key: fmt.Append(nil, round)})
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
	_, err := store.Open(t.Context(), store.Config{Dir: cfg.Dir})
	require.ErrorIs(t, err, store.ErrConfig)
}

func TestMemberConfig(t *testing.T) {
	a := []store.Peer{{Name: "a", Addr: "a"}}
	for name, cfg := range map[string]store.Config{
		"peers without a name": {Peers: a},
		"no disk":              {Name: "a", Peers: a},
		"two disks":            {Name: "a", Peers: a, Dir: "x", MemoryDisk: &store.MemoryDisk{}},
		"not a peer":           {Name: "b", Peers: a, MemoryDisk: &store.MemoryDisk{}},
		"a name twice":         {Name: "a", Peers: append(a, a...), MemoryDisk: &store.MemoryDisk{}},
		"join alone":           {Name: "a", Peers: a, Join: true, MemoryDisk: &store.MemoryDisk{}},
		"no certificate":       {Name: "a", Peers: a, TLS: &tls.Config{}, MemoryDisk: &store.MemoryDisk{}},
	} {
		_, err := store.Open(t.Context(), cfg)
		require.ErrorIs(t, err, store.ErrConfig, name)
	}
	s, err := store.Open(t.Context(), store.Config{})
	require.NoError(t, err)
	defer s.Close()
	require.ErrorIs(t, s.AddMember(t.Context(), a[0]), store.ErrMember)
}
