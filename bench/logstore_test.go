package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/wal"
	"github.com/stretchr/testify/require"
)

// hashicorpLog is hashicorp/raft-wal as a log store.
type hashicorpLog struct{ *raftwal.WAL }

func (hashicorpLog) LogName() string { return "raft-wal" }

func openHashicorp(dir string) (store.LogStore, error) {
	w, err := raftwal.Open(dir)
	if err != nil {
		return nil, err
	}
	return hashicorpLog{w}, nil
}

var logStores = []struct {
	name string
	open func(string) (store.LogStore, error)
}{
	{"bolt", store.OpenBoltLog}, {"raft-wal", openHashicorp}, {"default", wal.Open},
}

// TestHashicorpLog tells which tests of the suite hashicorp/raft-wal passes, and that a store runs on it.
func TestHashicorpLog(t *testing.T) {
	s, err := store.Open(t.Context(), store.Config{Dir: t.TempDir(), OpenLog: openHashicorp})
	require.NoError(t, err)
	_, err = s.Put(t.Context(), store.PutRequest{Key: []byte("a")})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// BenchmarkLogStore stores entries as Raft does, a call at a time, and deletes what a snapshot would have taken the
// place of.
//
//	go -C bench test -run '^$' -bench LogStore -benchtime 2s
func BenchmarkLogStore(b *testing.B) {
	for _, load := range []struct{ entries, size int }{{1, 300}, {1, 300_000}, {1000, 300}} {
		for _, logs := range logStores {
			b.Run(fmt.Sprintf("%dx%dB/%s", load.entries, load.size, logs.name), func(b *testing.B) {
				s, err := logs.open(b.TempDir())
				require.NoError(b, err)
				data := make([]byte, load.size)
				next, first := uint64(1), uint64(1)
				keep := uint64(20_000)
				if load.size > 1000 {
					keep = 200
				}
				b.SetBytes(int64(load.entries * load.size))
				for b.Loop() {
					entries := make([]*raft.Log, load.entries)
					for i := range entries {
						entries[i] = &raft.Log{Index: next, Term: 1, Data: data}
						next++
					}
					if err := s.StoreLogs(entries); err != nil {
						b.Fatal(err)
					}
					if next-first > keep {
						if err := s.DeleteRange(first, next-keep/2); err != nil {
							b.Fatal(err)
						}
						first = next - keep/2 + 1
					}
				}
				require.NoError(b, s.Close())
			})
		}
	}
}

// BenchmarkLogStorePut puts 256 bytes into a store of one member.
//
//	go -C bench test -run '^$' -bench LogStorePut -benchtime 2s
func BenchmarkLogStorePut(b *testing.B) {
	for _, callers := range []int{1, 1000} {
		for _, logs := range logStores {
			b.Run(fmt.Sprintf("%d/%s", callers, logs.name), func(b *testing.B) {
				ctx := context.Background()
				s, err := store.Open(ctx, store.Config{Dir: filepath.Join(b.TempDir(), "d"), OpenLog: logs.open})
				require.NoError(b, err)
				value := make([]byte, 256)
				var next atomic.Int64
				b.ResetTimer()
				var all sync.WaitGroup
				for range callers {
					all.Go(func() {
						for {
							n := next.Add(1)
							if n > int64(b.N) {
								return
							}
							if _, err := s.Put(ctx, store.PutRequest{Key: fmt.Appendf(nil, "%08d", n%100_000), Value: value}); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
				b.StopTimer()
				require.NoError(b, s.Close())
			})
		}
	}
}
