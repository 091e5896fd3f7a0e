package store_test

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// TestRecover loses two of three directories, recovers from the third, and has two others join.
func TestRecover(t *testing.T) {
	for name, openLog := range map[string]func(string) (store.LogStore, error){"bolt": store.OpenBoltLog, "default": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testRecover(t, openLog, openLog != nil) })
		})
	}
}

func testRecover(t *testing.T, openLog func(string) (store.LogStore, error), snapshot bool) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	net := newSimnet()
	dirs := map[string]string{}
	config := func(name string) store.Config {
		if dirs[name] == "" {
			dirs[name] = t.TempDir()
		}
		var peers []store.Peer
		for _, n := range simNames {
			peers = append(peers, store.Peer{Name: n, Addr: n})
		}
		return store.Config{
			Name: name, Peers: peers, Listener: net.listen(name), Dial: net.dial(name), Dir: dirs[name], OpenLog: openLog,
			Keys: store.StaticKeys{key(name)},
		}
	}
	members := map[string]*store.Store{}
	for _, name := range simNames {
		s, err := store.Open(ctx, config(name))
		require.NoError(t, err)
		members[name] = s
	}
	fillStore(t, members["a"], 0, 60)
	_, err := members["b"].Delete(ctx, store.DeleteRequest{Key: []byte("nameofkey/7")})
	require.NoError(t, err)
	_, err = members["b"].Grant(ctx, 77, time.Hour)
	require.NoError(t, err)
	if snapshot {
		require.NoError(t, members["c"].Reencrypt(ctx), "the survivor has but a snapshot")
	}
	fillStore(t, members["b"], 60, 90)
	want := everything(t, members["c"])
	old := status(t, members["c"])
	for _, s := range members {
		require.NoError(t, s.Close())
	}
	survivor := "c"
	opts := store.FileOptions{OpenLog: openLog, Keys: store.StaticKeys{key(survivor)}}
	for _, name := range simNames[:2] {
		require.NoError(t, os.RemoveAll(dirs[name]))
		dirs[name] = ""
	}
	report, err := store.Verify(ctx, dirs[survivor], opts)
	require.NoError(t, err)
	require.NoError(t, report.Err())
	require.Equal(t, want.Revision, report.Contents.Revision)
	require.Len(t, report.Contents.Members, 3)

	_, err = store.Recover(ctx, dirs[survivor], store.RecoverOptions{Name: survivor, Addr: survivor, FileOptions: store.FileOptions{OpenLog: openLog}})
	require.ErrorIs(t, err, store.ErrKey)
	_, err = store.Recover(ctx, dirs[survivor], store.RecoverOptions{Name: survivor, FileOptions: opts})
	require.ErrorIs(t, err, store.ErrConfig)
	_, err = store.Recover(ctx, t.TempDir(), store.RecoverOptions{})
	require.ErrorIs(t, err, store.ErrConfig)
	for range 2 { // it may be run again
		contents, err := store.Recover(ctx, dirs[survivor], store.RecoverOptions{Name: survivor, Addr: survivor, FileOptions: opts})
		require.NoError(t, err)
		require.NotEqual(t, old.ClusterID, contents.ClusterID)
		require.Len(t, contents.Members, 1)
		require.Greater(t, contents.Term, old.Term+1000)
	}
	s, err := store.Open(ctx, config(survivor))
	require.NoError(t, err)
	members = map[string]*store.Store{survivor: s}
	same := func(s *store.Store) {
		t.Helper()
		got := everything(t, s)
		require.GreaterOrEqual(t, got.Revision, want.Revision+store.RestoreBump)
		require.Equal(t, want.KVs, got.KVs)
		leases, err := s.Leases(ctx)
		require.NoError(t, err)
		require.Equal(t, []int64{77}, leases)
		_, err = s.Range(ctx, store.RangeRequest{Key: []byte("a"), Revision: want.Revision})
		require.ErrorIs(t, err, store.ErrCompacted)
	}
	same(s)
	_, err = store.Recover(ctx, dirs[survivor], store.RecoverOptions{Name: survivor, Addr: survivor, FileOptions: opts})
	require.ErrorIs(t, err, store.ErrLocked)
	for _, name := range simNames[:2] { // the old names, with empty directories
		require.NoError(t, s.AddMember(ctx, store.Peer{Name: name, Addr: name}))
		cfg := config(name)
		cfg.Join = true
		members[name], err = store.Open(ctx, cfg)
		require.NoError(t, err)
		same(members[name])
		require.Eventually(t, func() bool { return len(voters(t, s)) == len(members) }, 30*time.Second, 5*time.Millisecond)
	}
	_, err = members["a"].Put(ctx, store.PutRequest{Key: []byte("after")})
	require.NoError(t, err)
	require.Len(t, voters(t, s), 3)
	for _, s := range members {
		require.NoError(t, s.Close())
	}
}

// TestRecoverLone makes a lone store of a member's files.
func TestRecoverLone(t *testing.T) {
	net := newSimnet()
	dir := t.TempDir()
	s := openDir(t, store.Config{Name: "a", Peers: []store.Peer{{Name: "a", Addr: "a"}}, Listener: net.listen("a"), Dir: dir})
	fillStore(t, s, 0, 10)
	want := everything(t, s)
	require.NoError(t, s.Close())
	_, err := store.Recover(t.Context(), dir, store.RecoverOptions{})
	require.NoError(t, err)
	s = openDir(t, store.Config{Dir: dir})
	require.Equal(t, want.KVs, everything(t, s).KVs)
	fillStore(t, s, 10, 12)
	require.NoError(t, s.Close())
}
