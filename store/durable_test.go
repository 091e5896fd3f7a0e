package store_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

func openDir(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), cfg)
	require.NoError(t, err)
	return s
}

func everything(t *testing.T, s *store.Store) store.RangeResult {
	t.Helper()
	res, err := s.Range(t.Context(), store.RangeRequest{Key: []byte{0}, End: []byte{0}})
	require.NoError(t, err)
	return res
}

func watched(t *testing.T, s *store.Store, from int64) (events []string) {
	t.Helper()
	w, err := s.Watch(t.Context(), store.WatchRequest{Key: []byte{0}, End: []byte{0}, Revision: from, PrevKV: true})
	require.NoError(t, err)
	defer w.Close()
	for {
		batch, err := w.TryNext()
		require.NoError(t, err)
		if len(batch.Events) == 0 {
			return events
		}
		for _, e := range batch.Events {
			text := fmt.Sprintf("%v %d %s=%s", e.Type, e.KV.ModRevision, e.KV.Key, e.KV.Value)
			if e.PrevKV != nil {
				text += fmt.Sprintf(" was %d %s", e.PrevKV.ModRevision, e.PrevKV.Value)
			}
			events = append(events, text)
		}
	}
}

// TestReopen closes and opens again and again, with Raft's log being replaced by a snapshot in between; nothing may
// change by that.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	cfg := store.Config{Dir: dir, SnapshotEntries: 50, Logger: zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel))}
	rnd := rand.New(rand.NewPCG(1, 2))
	var before store.RangeResult
	var history []string
	var status store.Status
	compacted := int64(1)
	for round := range 8 {
		s := openDir(t, cfg)
		if round > 0 {
			require.Equal(t, before, everything(t, s))
			require.Equal(t, history, watched(t, s, compacted+1))
			now, err := s.Status(t.Context())
			require.NoError(t, err)
			require.Equal(t, status.ClusterID, now.ClusterID)
			require.Equal(t, status.Bytes, now.Bytes)
			require.Equal(t, status.Keys, now.Keys)
			require.Equal(t, status.CompactRevision, now.CompactRevision)
			require.Equal(t, status.Applied+1, now.Applied, "one command opened it, none was applied twice")
		}
		_, err := s.Grant(t.Context(), int64(round+1), time.Hour)
		require.NoError(t, err)
		for range 60 {
			key := []byte(fmt.Sprint(rnd.IntN(20)))
			if rnd.IntN(4) == 0 { // several keys in one revision, in an order of their own
				_, err = s.Txn(t.Context(), store.Txn{Then: []store.Op{
					{Put: &store.PutRequest{Key: append([]byte("x"), key...)}},
					{Delete: &store.DeleteRequest{Key: []byte("z"), End: []byte("zz")}},
					{Put: &store.PutRequest{Key: key}},
					{Put: &store.PutRequest{Key: append([]byte("a"), key...)}},
				}})
			} else if rnd.IntN(4) == 0 {
				_, err = s.Delete(t.Context(), store.DeleteRequest{Key: key})
			} else {
				_, err = s.Put(t.Context(), store.PutRequest{Key: key, Value: []byte(fmt.Sprint(rnd.Int())), Lease: rnd.Int64N(int64(round + 2))})
			}
			require.NoError(t, err)
		}
		if round%3 == 2 {
			compacted = everything(t, s).Revision - 10
			require.NoError(t, s.Compact(t.Context(), compacted))
		}
		before, history = everything(t, s), watched(t, s, compacted+1)
		if round%2 == 1 {
			index, err := s.SaveSnapshot()
			require.NoError(t, err)
			require.Greater(t, index, uint64(60*round))
		}
		if status, err = s.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		leases, err := s.Leases(t.Context())
		require.NoError(t, err)
		require.Len(t, leases, round+1)
		require.NoError(t, s.Close())
	}
}

func TestRestoreIntoDirectory(t *testing.T) {
	source, err := store.Open(t.Context(), store.Config{})
	require.NoError(t, err)
	defer source.Close()
	for i := range 50 {
		_, err := source.Put(t.Context(), store.PutRequest{Key: []byte(fmt.Sprint(i)), Value: []byte("v")})
		require.NoError(t, err)
	}
	var snapshot bytes.Buffer
	require.NoError(t, source.Snapshot(t.Context(), &snapshot))
	dir := t.TempDir()
	// A restore that failed leaves a directory that can be restored into.
	_, err = store.Open(t.Context(), store.Config{Dir: dir, Restore: strings.NewReader("nonsense")})
	require.ErrorIs(t, err, store.ErrCorrupt)
	s := openDir(t, store.Config{Dir: dir, Restore: bytes.NewReader(snapshot.Bytes())})
	require.Equal(t, everything(t, source).KVs, everything(t, s).KVs)
	_, err = s.Put(t.Context(), store.PutRequest{Key: []byte("new")})
	require.NoError(t, err)
	before := everything(t, s)
	require.NoError(t, s.Close())
	_, err = store.Open(t.Context(), store.Config{Dir: dir, Restore: bytes.NewReader(snapshot.Bytes())})
	require.ErrorIs(t, err, store.ErrNotEmpty)
	s = openDir(t, store.Config{Dir: dir})
	require.Equal(t, before, everything(t, s))
	require.NoError(t, s.Close())
	left, err := filepath.Glob(filepath.Join(dir, "restore-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, store.Config{Dir: dir})
	_, err := store.Open(t.Context(), store.Config{Dir: dir})
	require.ErrorIs(t, err, store.ErrLocked)
	require.NoError(t, s.Close())
	s = openDir(t, store.Config{Dir: dir})
	require.NoError(t, s.Close())
}

// TestDamagedFile opens bolt files with all sorts of damage: an error of the right kind, or a store that serves what was
// written.
func TestDamagedFile(t *testing.T) {
	good := t.TempDir()
	s := openDir(t, store.Config{Dir: good, OpenLog: store.OpenBoltLog})
	for i := range 200 {
		_, err := s.Put(t.Context(), store.PutRequest{Key: []byte(fmt.Sprintf("%04d", i)), Value: bytes.Repeat([]byte("x"), 500)})
		require.NoError(t, err)
	}
	want := everything(t, s)
	require.NoError(t, s.Close())
	whole, err := os.ReadFile(filepath.Join(good, "raft.db"))
	require.NoError(t, err)
	rnd := rand.New(rand.NewPCG(3, 4))
	refused := 0
	try := func(what string, content []byte, mustFail bool) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "raft.db"), content, 0o600))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		s, err := store.Open(ctx, store.Config{Dir: dir})
		if err != nil {
			var failed *store.Error
			require.ErrorAs(t, err, &failed, what)
			require.ErrorIs(t, err, store.ErrCorrupt, what)
			refused++
			return
		}
		defer s.Close()
		require.False(t, mustFail, "%s: opened", what)
		got := everything(t, s)
		require.Equal(t, want.KVs, got.KVs, what)
	}
	page := 4096
	for _, n := range []int{1, 100, page, 2 * page, 3 * page, len(whole) / 2, len(whole) - 8*page} {
		try(fmt.Sprintf("truncated to %d of %d", n, len(whole)), whole[:n], n < 4*page)
	}
	garbage := make([]byte, 20*page)
	for i := range len(garbage) / 8 {
		binary.LittleEndian.PutUint64(garbage[8*i:], rnd.Uint64())
	}
	try("garbage", garbage, true)
	try("zeros", make([]byte, 20*page), true)
	try("text", []byte(strings.Repeat("not a database\n", 5000)), true)
	for i := 2; i < len(whole)/page; i += 7 {
		damaged := bytes.Clone(whole)
		for j := range page {
			damaged[i*page+j] ^= 0xa5
		}
		try(fmt.Sprintf("page %d of %d", i, len(whole)/page), damaged, false)
	}
	for range 20 {
		damaged := bytes.Clone(whole)
		i := rnd.IntN(len(whole))
		damaged[i] ^= 1 << rnd.IntN(8)
		try(fmt.Sprintf("byte %d", i), damaged, false)
	}
	require.Greater(t, refused, 10)
}

// TestGroupCommit has many callers write at once and looks at how few entries they took.
func TestGroupCommit(t *testing.T) {
	s := openDir(t, store.Config{Dir: t.TempDir()})
	defer s.Close()
	const callers, each = 200, 5
	before, err := s.Status(t.Context())
	require.NoError(t, err)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for j := range each {
				if _, err := s.Put(t.Context(), store.PutRequest{Key: []byte(fmt.Sprintf("%d/%d", i, j))}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	after, err := s.Status(t.Context())
	require.NoError(t, err)
	require.Len(t, everything(t, s).KVs, callers*each)
	require.EqualValues(t, callers*each, after.Applied-before.Applied)
	require.Less(t, after.Index-before.Index, uint64(callers*each/2))
}

const writerEnv = "KEELSON_STORE_TEST_WRITER"

// writer is TestMain's child: it writes from many goroutines and says on standard output what was acknowledged, until
// it is killed.
func writer(dir string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Dir: dir, SnapshotEntries: 200})
	if err != nil {
		return err
	}
	defer s.Close()
	run := everythingRevision(s)
	var out sync.Mutex
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for j := 0; failed.Load() == nil; j++ {
				key := fmt.Sprintf("%d/%d/%d", run, i, j)
				res, err := s.Put(ctx, store.PutRequest{Key: []byte(key), Value: bytes.Repeat([]byte("v"), j%2000)})
				if err == nil && i == 0 && j%7 == 6 {
					_, err = s.SaveSnapshot() // so that some die in the middle of one
				}
				if err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				out.Lock()
				fmt.Printf("%s %d %d\n", key, res.Revision, j%2000)
				out.Unlock()
			}
		})
	}
	all.Wait()
	return *failed.Load()
}

func everythingRevision(s *store.Store) int64 {
	revision, err := s.Revision(context.Background())
	if err != nil {
		return -1
	}
	return revision
}

// TestKill kills a writing process with SIGKILL, some times over, and checks that everything it had reported is
// there, once.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	type ack struct {
		revision int64
		size     int
	}
	acks := map[string]ack{}
	for round := range 4 {
		child := exec.CommandContext(t.Context(), self, "-test.run=^$")
		child.Env = append(os.Environ(), writerEnv+"="+dir)
		var stderr bytes.Buffer
		child.Stderr = &stderr
		pipe, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		lines := bufio.NewScanner(pipe)
		enough := 300 + 150*round
		for n := 0; lines.Scan(); n++ {
			fields := strings.Fields(lines.Text())
			require.Len(t, fields, 3, "%s", lines.Text())
			revision, err := strconv.ParseInt(fields[1], 10, 64)
			require.NoError(t, err)
			size, err := strconv.Atoi(fields[2])
			require.NoError(t, err)
			acks[fields[0]] = ack{revision, size}
			if n == enough {
				require.NoError(t, child.Process.Kill())
				// What is left in the pipe was acknowledged too, but its last line may be torn.
				rest, err := io.ReadAll(pipe)
				require.NoError(t, err)
				_ = rest
				break
			}
		}
		require.Error(t, child.Wait(), "it was to be killed: %s", stderr.String())
		require.Greater(t, len(acks), enough, "%s", stderr.String())

		s := openDir(t, store.Config{Dir: dir})
		found := everything(t, s)
		byKey := map[string]store.KV{}
		revisions := map[int64]bool{}
		for _, kv := range found.KVs {
			byKey[string(kv.Key)] = kv
			require.EqualValues(t, 1, kv.Version, "%s was applied more than once", kv.Key)
			require.False(t, revisions[kv.ModRevision])
			revisions[kv.ModRevision] = true
		}
		for key, a := range acks {
			kv, ok := byKey[key]
			require.True(t, ok, "%s was acknowledged at %d and is lost", key, a.revision)
			require.Equal(t, a.revision, kv.ModRevision)
			require.Len(t, kv.Value, a.size)
		}
		require.NoError(t, s.Close())
	}
}
