package logtest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// Open opens or makes a log store in a directory that exists.
type Open func(dir string) (store.LogStore, error)

// RunLogStore runs the suite. Each test has a directory of its own.
func RunLogStore(t *testing.T, open Open) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Open)
	}{
		{"empty", testEmpty},
		{"entries", testEntries},
		{"stable", testStable},
		{"delete from the front", testDeleteFront},
		{"delete from the end", testDeleteEnd},
		{"delete all", testDeleteAll},
		{"gap", testGap},
		{"sizes", testSizes},
		{"locked", testLocked},
		{"concurrent", testConcurrent},
		{"model", testModel},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open) })
	}
}

func opened(t *testing.T, open Open, dir string) store.LogStore {
	t.Helper()
	s, err := open(dir)
	require.NoError(t, err)
	return s
}

func reopened(t *testing.T, open Open, dir string, s store.LogStore) store.LogStore {
	t.Helper()
	require.NoError(t, s.Close())
	return opened(t, open, dir)
}

// entry makes one whose content tells its index and version.
func entry(index, term uint64, size int) *raft.Log {
	data := fmt.Appendf(nil, "entry %d of term %d ", index, term)
	for len(data) < size {
		data = append(data, byte(index+uint64(len(data))))
	}
	return &raft.Log{Index: index, Term: term, Data: data[:max(size, 0)]}
}

func entries(first, last, term uint64) (all []*raft.Log) {
	for i := first; i <= last; i++ {
		all = append(all, entry(i, term, 100))
	}
	return all
}

// holds fails unless the store has the entries from first to last, with the terms that term says, and no others.
func holds(t *testing.T, s store.LogStore, first, last uint64, term func(uint64) uint64) {
	t.Helper()
	n, err := s.FirstIndex()
	require.NoError(t, err)
	require.Equal(t, first, n, "first index")
	n, err = s.LastIndex()
	require.NoError(t, err)
	require.Equal(t, last, n, "last index")
	for i := first; i <= last && i > 0; i++ {
		same(t, s, entry(i, term(i), 100))
	}
	if first > 0 {
		lacks(t, s, first-1)
	}
	lacks(t, s, last+1)
}

func always(term uint64) func(uint64) uint64 { return func(uint64) uint64 { return term } }

func same(t *testing.T, s store.LogStore, want *raft.Log) {
	t.Helper()
	got := raft.Log{Extensions: []byte("left over"), Data: []byte("left over")}
	require.NoError(t, s.GetLog(want.Index, &got))
	require.Equal(t, want.Index, got.Index)
	require.Equal(t, want.Term, got.Term)
	require.Equal(t, want.Type, got.Type)
	require.True(t, bytes.Equal(want.Data, got.Data), "data of entry %d", want.Index)
	require.True(t, bytes.Equal(want.Extensions, got.Extensions), "extensions of entry %d", want.Index)
	require.True(t, want.AppendedAt.Equal(got.AppendedAt), "time of entry %d: %v is not %v", want.Index, got.AppendedAt, want.AppendedAt)
}

func lacks(t *testing.T, s store.LogStore, index uint64) {
	t.Helper()
	// Raft compares, so that a wrapped error is not enough.
	if err := s.GetLog(index, &raft.Log{}); err != raft.ErrLogNotFound { //nolint:errorlint // see above
		t.Fatalf("entry %d, which is not there: %v", index, err)
	}
}

func testEmpty(t *testing.T, open Open) {
	dir := t.TempDir()
	s := opened(t, open, dir)
	for range 2 {
		holds(t, s, 0, 0, nil)
		noKey(t, s, "k")
		s = reopened(t, open, dir, s)
	}
	require.NoError(t, s.Close())
}

func testEntries(t *testing.T, open Open) {
	dir := t.TempDir()
	s := opened(t, open, dir)
	at := time.Date(2031, 5, 6, 7, 8, 9, 123456789, time.UTC)
	all := []*raft.Log{
		{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: []byte("members")},
		{Index: 2, Term: 1 << 40, Type: raft.LogNoop},
		{Index: 3, Term: 1 << 40, Data: bytes.Repeat([]byte{0}, 3000), Extensions: []byte{1, 2, 3}},
		{Index: 4, Term: 1 << 40, Data: []byte("x"), AppendedAt: at},
		{Index: 5, Term: 1<<64 - 1, Type: raft.LogBarrier, AppendedAt: at.Add(-200 * 365 * 24 * time.Hour / 4)},
	}
	require.NoError(t, s.StoreLog(all[0]))
	require.NoError(t, s.StoreLogs(all[1:4]))
	require.NoError(t, s.StoreLogs(all[4:]))
	for range 2 {
		for _, e := range all {
			same(t, s, e)
		}
		lacks(t, s, 6)
		s = reopened(t, open, dir, s)
	}
	// What was stored is a copy, and what is read is the reader's.
	e := entry(6, 1, 100)
	require.NoError(t, s.StoreLog(e))
	clear(e.Data)
	var got raft.Log
	require.NoError(t, s.GetLog(6, &got))
	require.True(t, bytes.Equal(entry(6, 1, 100).Data, got.Data))
	clear(got.Data)
	same(t, s, entry(6, 1, 100))
	require.NoError(t, s.Close())
}

func noKey(t *testing.T, s store.LogStore, key string) {
	t.Helper()
	value, err := s.Get([]byte(key))
	require.True(t, len(value) == 0 && (err == nil || err.Error() == "not found"), "%q, %v", value, err)
	n, err := s.GetUint64([]byte(key))
	require.True(t, n == 0 && (err == nil || err.Error() == "not found"), "%d, %v", n, err)
}

func testStable(t *testing.T, open Open) {
	dir := t.TempDir()
	s := opened(t, open, dir)
	for i := range uint64(50) {
		require.NoError(t, s.SetUint64([]byte("CurrentTerm"), i))
		require.NoError(t, s.Set([]byte("LastVoteCand"), fmt.Appendf(nil, "candidate %d", i)))
	}
	require.NoError(t, s.SetUint64([]byte("big"), 1<<64-1))
	require.NoError(t, s.Set([]byte("long"), bytes.Repeat([]byte("l"), 10_000)))
	require.NoError(t, s.Set([]byte("shrunk"), bytes.Repeat([]byte("l"), 10_000)))
	require.NoError(t, s.Set([]byte("shrunk"), []byte("s")))
	value := []byte("mine")
	require.NoError(t, s.Set([]byte("copy"), value))
	clear(value)
	for range 2 {
		n, err := s.GetUint64([]byte("CurrentTerm"))
		require.NoError(t, err)
		require.EqualValues(t, 49, n)
		n, err = s.GetUint64([]byte("big"))
		require.NoError(t, err)
		require.EqualValues(t, uint64(1<<64-1), n)
		for key, want := range map[string]string{
			"LastVoteCand": "candidate 49", "long": string(bytes.Repeat([]byte("l"), 10_000)), "shrunk": "s", "copy": "mine",
		} {
			got, err := s.Get([]byte(key))
			require.NoError(t, err, key)
			require.Equal(t, want, string(got), key)
			clear(got) // what is read is the reader's
		}
		noKey(t, s, "absent")
		s = reopened(t, open, dir, s)
	}
	holds(t, s, 0, 0, nil)
	require.NoError(t, s.Close())
}

func testDeleteFront(t *testing.T, open Open) {
	dir := t.TempDir()
	s := opened(t, open, dir)
	require.NoError(t, s.StoreLogs(entries(1, 100, 1)))
	first := uint64(1)
	for _, last := range []uint64{1, 2, 50, 99} {
		require.NoError(t, s.DeleteRange(first, last))
		first = last + 1
		holds(t, s, first, 100, always(1))
		s = reopened(t, open, dir, s)
		holds(t, s, first, 100, always(1))
	}
	require.NoError(t, s.StoreLogs(entries(101, 110, 1)))
	s = reopened(t, open, dir, s)
	holds(t, s, 100, 110, always(1))
	require.NoError(t, s.Close())
}

// testDeleteEnd puts others in the place of entries again and again: the earlier ones must not come back.
func testDeleteEnd(t *testing.T, open Open) {
	dir := t.TempDir()
	s := opened(t, open, dir)
	require.NoError(t, s.StoreLogs(entries(1, 100, 1)))
	terms := func(i uint64) uint64 {
		switch {
		case i < 40:
			return 1
		case i < 45:
			return 3
		}
		return 4
	}
	require.NoError(t, s.DeleteRange(60, 100))
	holds(t, s, 1, 59, always(1))
	s = reopened(t, open, dir, s)
	holds(t, s, 1, 59, always(1))
	require.NoError(t, s.StoreLogs(entries(60, 70, 2)))
	require.NoError(t, s.DeleteRange(40, 70))
	require.NoError(t, s.StoreLogs(entries(40, 47, 3)))
	require.NoError(t, s.DeleteRange(45, 47))
	require.NoError(t, s.StoreLog(entry(45, 4, 100)))
	holds(t, s, 1, 45, terms)
	s = reopened(t, open, dir, s)
	holds(t, s, 1, 45, terms)
	require.NoError(t, s.StoreLogs(entries(46, 200, 4)))
	s = reopened(t, open, dir, s)
	holds(t, s, 1, 200, terms)
	require.NoError(t, s.Close())
}

func testDeleteAll(t *testing.T, open Open) {
	dir := t.TempDir()
	s := opened(t, open, dir)
	require.NoError(t, s.StoreLogs(entries(1, 30, 1)))
	require.NoError(t, s.DeleteRange(1, 30))
	holds(t, s, 0, 0, nil)
	s = reopened(t, open, dir, s)
	holds(t, s, 0, 0, nil)
	require.NoError(t, s.StoreLogs(entries(500, 510, 2)))
	s = reopened(t, open, dir, s)
	holds(t, s, 500, 510, always(2))
	require.NoError(t, s.Close())
}

// testGap stores what follows a snapshot that is newer than all entries.
func testGap(t *testing.T, open Open) {
	dir := t.TempDir()
	s := opened(t, open, dir)
	require.NoError(t, s.StoreLogs(entries(1, 30, 1)))
	if m, ok := s.(raft.MonotonicLogStore); ok && m.IsMonotonic() {
		require.NoError(t, s.DeleteRange(1, 30)) // as Raft does then
	}
	require.NoError(t, s.StoreLogs(entries(100, 110, 2)))
	for range 2 {
		last, err := s.LastIndex()
		require.NoError(t, err)
		require.EqualValues(t, 110, last)
		for i := uint64(100); i <= 110; i++ {
			same(t, s, entry(i, 2, 100))
		}
		lacks(t, s, 31)
		lacks(t, s, 99)
		s = reopened(t, open, dir, s)
	}
	require.NoError(t, s.Close())
}

// testSizes stores entries of all sizes, one of them as large as a large transaction.
func testSizes(t *testing.T, open Open) {
	dir := t.TempDir()
	s := opened(t, open, dir)
	sizes := []int{0, 1, 7, 8, 9, 511, 512, 513, 4095, 4096, 4097, 65535, 65536, 300_000, 5 << 20, 1, 0}
	var all []*raft.Log
	for i, size := range sizes {
		all = append(all, entry(uint64(i+1), 1, size))
	}
	require.NoError(t, s.StoreLogs(all[:8]))
	for _, e := range all[8:] {
		require.NoError(t, s.StoreLog(e))
	}
	many := entries(uint64(len(all)+1), uint64(len(all)+3000), 1)
	require.NoError(t, s.StoreLogs(many))
	for range 2 {
		for _, e := range all {
			same(t, s, e)
		}
		for _, e := range many {
			same(t, s, e)
		}
		s = reopened(t, open, dir, s)
	}
	if sizer, ok := s.(store.LogSizer); ok {
		file, free := sizer.LogSizes()
		require.Greater(t, file, int64(5<<20))
		require.True(t, free >= 0 && free < file, "%d of %d bytes are free", free, file)
	}
	require.NoError(t, s.Close())
}

func testLocked(t *testing.T, open Open) {
	dir := t.TempDir()
	s := opened(t, open, dir)
	require.NoError(t, s.StoreLog(entry(1, 1, 100)))
	_, err := open(dir)
	require.ErrorIs(t, err, store.ErrLocked)
	require.NoError(t, s.StoreLog(entry(2, 1, 100)))
	s = reopened(t, open, dir, s)
	holds(t, s, 1, 2, always(1))
	require.NoError(t, s.Close())
}

// testConcurrent reads from several goroutines while one writes and one deletes.
func testConcurrent(t *testing.T, open Open) {
	s := opened(t, open, t.TempDir())
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				first, err := s.FirstIndex()
				if err != nil {
					t.Error(err)
					return
				}
				last, err := s.LastIndex()
				if err != nil {
					t.Error(err)
					return
				}
				for i := max(first, last-min(last, 3)); i <= last && i > 0; i++ {
					var got raft.Log
					err := s.GetLog(i, &got)
					if err == nil && (got.Index != i || !bytes.Equal(got.Data, entry(i, 1, 100).Data)) {
						t.Errorf("entry %d reads as %d, %q", i, got.Index, got.Data)
						return
					}
					if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
						t.Error(err)
						return
					}
				}
				if _, err := s.GetUint64([]byte("term")); err != nil && err.Error() != "not found" {
					t.Error(err)
				}
			}
		})
	}
	var deleter sync.WaitGroup
	for i := uint64(1); i <= 40; i++ {
		require.NoError(t, s.StoreLogs(entries(10*i, 10*i+9, 1)))
		require.NoError(t, s.SetUint64([]byte("term"), i))
		if i%3 == 0 {
			deleter.Wait()
			deleter.Go(func() {
				first, err := s.FirstIndex()
				if err == nil {
					err = s.DeleteRange(first, 10*i-20)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	deleter.Wait()
	close(stop)
	readers.Wait()
	holds(t, s, 371, 409, always(1))
	require.NoError(t, s.Close())
}
