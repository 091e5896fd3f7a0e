package store_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/keelson-dev/keelson/store"
)

func benchmarkForms(b *testing.B, run func(b *testing.B, s *store.Store)) {
	for _, form := range []string{"memory", "durable", "member"} {
		b.Run(form, func(b *testing.B) {
			var cfg store.Config
			if form != "memory" {
				cfg.Dir = b.TempDir()
			}
			if form == "member" { // the only one of its cluster
				cfg.Name, cfg.Peers, cfg.Listener = "a", []store.Peer{{Name: "a", Addr: "a"}}, memnet.Listen("a")
			}
			s, err := store.Open(b.Context(), cfg)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			run(b, s)
		})
	}
}

func BenchmarkPut(b *testing.B) {
	benchmarkForms(b, func(b *testing.B, s *store.Store) {
		value := make([]byte, 512)
		i := 0
		for b.Loop() {
			i++
			if _, err := s.Put(b.Context(), store.PutRequest{Key: fmt.Appendf(nil, "/registry/pods/%06d", i%10_000), Value: value}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkPut1000 has a thousand callers; the time is per put.
func BenchmarkPut1000(b *testing.B) {
	benchmarkForms(b, func(b *testing.B, s *store.Store) {
		const callers = 1000
		value := make([]byte, 512)
		work := make(chan int, callers)
		var all sync.WaitGroup
		var failed atomic.Bool
		for range callers {
			all.Go(func() {
				for i := range work {
					if _, err := s.Put(b.Context(), store.PutRequest{Key: fmt.Appendf(nil, "/registry/pods/%06d", i%10_000), Value: value}); err != nil {
						failed.Store(true)
					}
				}
			})
		}
		i := 0
		for b.Loop() {
			i++
			work <- i
		}
		close(work)
		all.Wait()
		if failed.Load() {
			b.Fatal("a put failed")
		}
	})
}

func BenchmarkGet(b *testing.B) {
	benchmarkForms(b, func(b *testing.B, s *store.Store) {
		var ops []store.Op
		for i := range 10_000 {
			ops = append(ops, store.Op{Put: &store.PutRequest{Key: fmt.Appendf(nil, "/registry/pods/%06d", i), Value: make([]byte, 128)}})
		}
		if _, err := s.Txn(b.Context(), store.Txn{Then: ops}); err != nil {
			b.Fatal(err)
		}
		key := []byte("/registry/pods/005000")
		for b.Loop() {
			if _, found, err := s.Get(b.Context(), key); err != nil || !found {
				b.Fatal(found, err)
			}
		}
	})
}

// BenchmarkWatchFanOut measures a put that a thousand watchers of its prefix see.
func BenchmarkWatchFanOut(b *testing.B) {
	s, err := store.Open(b.Context(), store.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const watchers = 1000
	var seen sync.WaitGroup
	for range watchers {
		w, err := s.Watch(b.Context(), store.WatchRequest{Key: []byte("/a/"), End: store.PrefixEnd([]byte("/a/"))})
		if err != nil {
			b.Fatal(err)
		}
		go func() {
			defer w.Close()
			for {
				batch, err := w.Next(b.Context())
				if err != nil {
					return
				}
				seen.Add(-len(batch.Events))
			}
		}()
	}
	for b.Loop() {
		seen.Add(watchers)
		if _, err := s.Put(b.Context(), store.PutRequest{Key: []byte("/a/1")}); err != nil {
			b.Fatal(err)
		}
		seen.Wait()
	}
}
