package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// upgrading is a fleet under load, whose members are of two releases.
type upgrading struct {
	*fleet
	dirs map[string]string // nil for memory

	acked map[string]int
	stop  context.CancelFunc
	load  sync.WaitGroup
	errs  []error
}

// release is how a member of a release is opened.
func (u *upgrading) release(name string, release uint64) func(*store.Config) {
	return func(cfg *store.Config) {
		if u.dirs != nil {
			cfg.Dir, cfg.MemoryDisk = u.dirs[name], nil
		}
		*cfg = store.WithRelease(*cfg, release)
	}
}

func (u *upgrading) member(name string) *store.Store {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.members[name]
}

// begin has clients write at all members. One whose member closes goes to the next one.
func (u *upgrading) begin(ctx context.Context) {
	ctx, u.stop = context.WithCancel(ctx)
	u.acked = map[string]int{}
	every := 20 * time.Millisecond
	if u.dirs != nil {
		every = 250 * time.Millisecond // of real syncs
	}
	for client := range 3 {
		u.load.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("%d/%d", client, i%50)
				for try := client; ctx.Err() == nil; try++ {
					s := u.member(u.peers[try%len(u.peers)].Name)
					if s == nil {
						continue
					}
					_, err := s.Put(ctx, store.PutRequest{Key: []byte(key), Value: []byte(fmt.Sprint(i))})
					if err == nil {
						u.mu.Lock()
						u.acked[key] = i
						u.mu.Unlock()
						break
					}
					time.Sleep(time.Millisecond)
					if ctx.Err() == nil && !errors.Is(err, store.ErrClosed) {
						u.mu.Lock()
						u.errs = append(u.errs, err)
						u.mu.Unlock()
					}
				}
				select {
				case <-time.After(every):
				case <-ctx.Done():
				}
			}
		})
	}
}

// replace closes a member and opens it again as of another release, and waits until it has caught up.
func (u *upgrading) replace(t *testing.T, name string, edit func(*store.Config)) {
	t.Helper()
	old := u.member(name)
	require.NotNil(t, old)
	u.mu.Lock()
	delete(u.members, name)
	u.mu.Unlock()
	require.NoError(t, old.Close())
	cfg := u.config(name)
	edit(&cfg)
	s, err := store.Open(t.Context(), cfg)
	require.NoError(t, err)
	u.mu.Lock()
	u.members[name] = s
	u.mu.Unlock()
	_, err = s.Revision(t.Context())
	require.NoError(t, err)
}

func (u *upgrading) versions(t *testing.T) (all []int) {
	t.Helper()
	for _, p := range u.peers {
		all = append(all, statusOf(t, u.members[p.Name]).Version)
	}
	return all
}

// TestRollingUpgrade replaces members of this release under load by those of the next one, which tests make: it has a
// command, a form of snapshots and a definition of the hash that this one does not know.
func TestRollingUpgrade(t *testing.T) {
	for _, kind := range []string{"memory", "directories"} {
		t.Run(kind, func(t *testing.T) {
			u := &upgrading{}
			if kind == "directories" {
				u.dirs = map[string]string{"a": t.TempDir(), "b": t.TempDir(), "c": t.TempDir(), "d": t.TempDir()}
			}
			synctest.Test(t, func(t *testing.T) { rollingUpgrade(t, u) })
		})
	}
}

func rollingUpgrade(t *testing.T, u *upgrading) {
	ctx := t.Context()
	u.fleet = newFleet("a", "b", "c")
	defer u.closeAll(t)
	for _, p := range u.peers {
		u.open(t, p.Name, u.release(p.Name, 1))
	}
	u.leader(t)
	u.begin(ctx)
	defer func() { u.stop(); u.load.Wait() }()
	time.Sleep(2 * time.Second)

	order := []string{"a", "b", "c"}
	for i, name := range order {
		require.Equal(t, []int{1, 1, 1}, u.versions(t))
		for _, old := range order[i:] {
			require.Equal(t, 1, statusOf(t, u.members[old]).SupportedVersion)
		}
		if i > 0 {
			status := statusOf(t, u.members["a"])
			require.Equal(t, store.NextRelease, status.SupportedVersion)
			require.Len(t, status.VersionBlockers, len(order)-i, "%q", status.VersionBlockers)
			err := u.members["a"].PutNext(ctx, "early")
			require.ErrorIs(t, err, store.ErrVersion, "nobody uses what is new")
		}
		edit := u.release(name, store.NextRelease)
		if name == "c" { // an operator holds the cluster back
			u.replace(t, name, func(cfg *store.Config) { edit(cfg); cfg.HoldVersion = 1 })
			time.Sleep(10 * time.Second)
			require.Equal(t, []int{1, 1, 1}, u.versions(t))
			require.Len(t, statusOf(t, u.members["a"]).VersionBlockers, 1)
			require.Contains(t, statusOf(t, u.members["a"]).VersionBlockers[0], `"c"`)
		}
		u.replace(t, name, edit)
		time.Sleep(2 * time.Second)
	}
	u.until(t, "the version is raised", func() bool {
		v := u.versions(t)
		return v[0] == store.NextRelease && v[1] == store.NextRelease && v[2] == store.NextRelease
	})
	require.Empty(t, statusOf(t, u.members["a"]).VersionBlockers)
	for _, name := range order {
		require.NoError(t, u.members[name].PutNext(ctx, "next/"+name))
	}
	for range 20 { // so that hashes of the new kind are compared
		_, err := u.members["b"].Grant(ctx, 0, time.Hour)
		require.NoError(t, err)
	}
	time.Sleep(3 * time.Second)
	leader := u.leader(t)
	require.NoError(t, u.members[leader].Compacting())
	var snapshot bytes.Buffer
	require.NoError(t, u.members[leader].Snapshot(ctx, &snapshot))
	_, err := store.Open(ctx, store.WithRelease(store.Config{Restore: bytes.NewReader(snapshot.Bytes())}, 1))
	require.ErrorIs(t, err, store.ErrVersion, "a release that does not know the snapshot says so")
	u.downgrade(t, leader)

	u.stop()
	u.load.Wait()
	require.Empty(t, u.errs)
	for _, name := range order {
		s := u.members[name]
		for key, value := range u.acked {
			kv, found, err := s.Get(ctx, []byte(key))
			require.NoError(t, err)
			require.True(t, found)
			has, err := strconv.Atoi(string(kv.Value))
			require.NoError(t, err)
			require.GreaterOrEqual(t, has, value, "%s; the last one may have been under way at the end", key)
		}
		_, found, err := s.Get(ctx, []byte("next/a"))
		require.NoError(t, err)
		require.True(t, found)
	}
	require.Greater(t, len(u.acked), 100)
	u.same(t)
}

// downgrade tries to go back, and to join, with the release of before.
func (u *upgrading) downgrade(t *testing.T, leader string) {
	t.Helper()
	back := u.peers[0].Name
	if back == leader {
		back = u.peers[1].Name
	}
	require.NoError(t, u.member(back).Close())
	cfg := u.config(back)
	u.release(back, 1)(&cfg)
	_, err := store.Open(t.Context(), cfg)
	require.ErrorIs(t, err, store.ErrVersion)
	require.NotErrorIs(t, err, store.ErrCorrupt)
	s := u.open(t, back, u.release(back, store.NextRelease))
	_, err = s.Revision(t.Context())
	require.NoError(t, err)

	require.NoError(t, u.member(leader).AddMember(t.Context(), store.Peer{Name: "d", Addr: "d"}))
	cfg = u.config("d")
	u.release("d", 1)(&cfg)
	cfg.Join, cfg.Peers = true, append([]store.Peer{{Name: "d", Addr: "d"}}, u.peers...)
	d, err := store.Open(t.Context(), cfg)
	require.NoError(t, err)
	_, err = d.Revision(t.Context())
	require.ErrorIs(t, err, store.ErrVersion)
	require.NotContains(t, voters(t, u.member(leader)), "d")
	require.NoError(t, d.Close())
	require.NoError(t, u.member(leader).RemoveMember(t.Context(), "d"))
}

// same compares all members when nothing is under way.
func (f *fleet) same(t *testing.T) {
	t.Helper()
	f.until(t, "all have the same", func() bool {
		var all []store.Status
		for _, s := range f.members {
			all = append(all, statusOf(t, s))
		}
		for _, status := range all {
			for _, m := range status.Members {
				require.False(t, m.Diverged, "%+v", m)
			}
			if status.Applied != all[0].Applied {
				return false
			}
			require.Equal(t, all[0].Hash, status.Hash)
		}
		return true
	})
}

// TestLoneUpgrade opens a store without peers with the next release, which uses its formats at once, and then with this
// one, which can't.
func TestLoneUpgrade(t *testing.T) {
	cfg := store.Config{Dir: t.TempDir()}
	open := func(release uint64, hold int) (*store.Store, error) {
		next := cfg
		next.HoldVersion = hold
		return store.Open(t.Context(), store.WithRelease(next, release))
	}
	s, err := open(1, 0)
	require.NoError(t, err)
	_, err = s.Put(t.Context(), store.PutRequest{Key: []byte("k"), Value: []byte("v")})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	s, err = open(store.NextRelease, 1)
	require.NoError(t, err)
	require.Equal(t, 1, statusOf(t, s).Version)
	require.NoError(t, s.Close())
	s, err = open(1, 0)
	require.NoError(t, err, "going back is possible while it is held")
	require.NoError(t, s.Close())
	s, err = open(store.NextRelease, 0)
	require.NoError(t, err)
	require.Equal(t, store.NextRelease, statusOf(t, s).Version)
	require.NoError(t, s.PutNext(t.Context(), "next"))
	require.NoError(t, s.Close())
	_, err = open(1, 0)
	require.ErrorIs(t, err, store.ErrVersion)
	s, err = open(store.NextRelease, 1)
	require.NoError(t, err, "what is in use stays")
	defer s.Close()
	kv, _, err := s.Get(t.Context(), []byte("k"))
	require.NoError(t, err)
	require.Equal(t, "v", string(kv.Value))
}

// TestWithoutTheGate shows what the gate is for: a member of the old release stops when the new formats are used.
func TestWithoutTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet("a", "b", "c")
		defer f.closeAll(t)
		old := f.open(t, "a", func(cfg *store.Config) { *cfg = store.WithRelease(*cfg, 1) })
		for _, name := range []string{"b", "c"} {
			f.open(t, name, func(cfg *store.Config) { *cfg = store.WithoutGate(store.WithRelease(*cfg, store.NextRelease)) })
		}
		require.NoError(t, f.members["b"].TransferLeadership(t.Context(), "b"))
		f.until(t, "it stops", func() bool {
			_, err := old.Range(t.Context(), store.RangeRequest{Key: []byte("k"), Serializable: true})
			return errors.Is(err, store.ErrVersion) && errors.Is(err, store.ErrFailed)
		})
		f.put(t, "c", "k", "the others go on")
		require.NoError(t, f.members["c"].PutNext(t.Context(), "next"))
	})
}
