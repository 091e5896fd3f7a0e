package store_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/keelson-dev/keelson/store"
)

const (
	benchKeys  = 100_000
	benchValue = 256
)

// names of the keys, made before anything is measured.
func benchNames(n int) [][]byte {
	names := make([][]byte, n)
	for i := range names {
		names[i] = fmt.Appendf(nil, "/registry/pods/%06d", i)
	}
	return names
}

// fill puts every key once.
func fill(b *testing.B, s *store.Store, names [][]byte) {
	for len(names) > 0 {
		var ops []store.Op
		n := min(1000, len(names))
		for _, name := range names[:n] {
			ops = append(ops, store.Op{Put: &store.PutRequest{Key: name, Value: make([]byte, benchValue)}})
		}
		if _, err := s.Txn(b.Context(), store.Txn{Then: ops}); err != nil {
			b.Fatal(err)
		}
		names = names[n:]
	}
}

func openBench(b *testing.B, cfg store.Config) *store.Store {
	s, err := store.Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// benchmarkForms runs with each form of a store: in memory; durable; the only member of its cluster; the leader and
// a follower of three members, each with a directory of its own, over connections in memory.
func benchmarkForms(b *testing.B, forms string, run func(b *testing.B, s *store.Store)) {
	for form := range strings.FieldsSeq(forms) {
		b.Run(form, func(b *testing.B) {
			switch form {
			case "memory":
				run(b, openBench(b, store.Config{}))
			case "durable":
				run(b, openBench(b, store.Config{Dir: b.TempDir()}))
			case "sole":
				run(b, openBench(b, store.Config{
					Dir: b.TempDir(), Name: "a", Peers: []store.Peer{{Name: "a", Addr: "a"}}, Listener: memnet.Listen("a"),
				}))
			default:
				leader, follower := openThree(b)
				if form == "leader" {
					run(b, leader)
				} else {
					run(b, follower)
				}
			}
		})
	}
}

func openThree(b *testing.B) (leader, follower *store.Store) {
	var peers []store.Peer
	listeners := map[string]*memnet.Listener{}
	for _, name := range []string{"a", "b", "c"} {
		peers = append(peers, store.Peer{Name: name, Addr: name})
		listeners[name] = memnet.Listen(name)
	}
	dial := func(ctx context.Context, addr string) (conn net.Conn, err error) { return listeners[addr].Dial(ctx) }
	var all []*store.Store
	for _, p := range peers {
		all = append(all, openBench(b, store.Config{Dir: b.TempDir(), Name: p.Name, Peers: peers, Listener: listeners[p.Name], Dial: dial}))
	}
	for _, s := range all {
		if _, err := s.Revision(b.Context()); err != nil {
			b.Fatal(err)
		}
		status, err := s.Status(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if status.Leader {
			leader = s
		} else {
			follower = s
		}
	}
	return leader, follower
}

// cpu returns the processor time this process has used, or 0 where the system doesn't tell it this way.
func cpu() time.Duration {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	ticks := 0
	for _, f := range fields[11:13] { // user and system, in ticks of 10 ms
		n, _ := strconv.Atoi(f)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// callers runs op b.N times in all from so many callers, and reports operations and processor time.
func callers(b *testing.B, n int, op func(i int) error) {
	var next atomic.Int64
	b.SetParallelism(max(1, n/runtime.GOMAXPROCS(0)))
	b.ReportAllocs()
	before := cpu()
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		i := int(next.Add(1)) * 7919
		for p.Next() {
			i++
			if err := op(i); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

func benchmarkPut(b *testing.B, n int, forms string) {
	names := benchNames(benchKeys)
	value := make([]byte, benchValue)
	benchmarkForms(b, forms, func(b *testing.B, s *store.Store) {
		callers(b, n, func(i int) error {
			_, err := s.Put(b.Context(), store.PutRequest{Key: names[i%len(names)], Value: value})
			return err
		})
	})
}

func BenchmarkPut(b *testing.B) {
	names := benchNames(benchKeys)
	value := make([]byte, benchValue)
	benchmarkForms(b, "memory durable sole leader follower", func(b *testing.B, s *store.Store) {
		i := 0
		for b.Loop() {
			i++
			if _, err := s.Put(b.Context(), store.PutRequest{Key: names[i%len(names)], Value: value}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPut1000(b *testing.B) { benchmarkPut(b, 1000, "memory durable sole leader follower") }

// BenchmarkGet has a hundred callers.
func BenchmarkGet(b *testing.B) {
	names := benchNames(benchKeys)
	for _, kind := range []string{"linearizable", "serializable"} {
		b.Run(kind, func(b *testing.B) {
			forms := "memory durable sole leader follower"
			if kind == "serializable" {
				forms = "durable sole"
			}
			benchmarkForms(b, forms, func(b *testing.B, s *store.Store) {
				fill(b, s, names)
				callers(b, 100, func(i int) error {
					key := names[i%len(names)]
					if kind == "linearizable" {
						_, found, err := s.Get(b.Context(), key)
						if err == nil && !found {
							return fmt.Errorf("no key %s", key)
						}
						return err
					}
					v, err := s.SerializableView()
					if err != nil {
						return err
					}
					if _, found := v.Get(key); !found {
						return fmt.Errorf("no key %s", key)
					}
					return nil
				})
			})
		})
	}
}

// BenchmarkEvents has so many watchers of one busy prefix and 100 callers that put; the time is per put, events/s counts
// what the watchers got, and puts/s what the callers did meanwhile.
func BenchmarkEvents(b *testing.B) {
	names := benchNames(1000)
	for _, form := range []string{"memory", "durable"} {
		for _, watchers := range []int{0, 1, 1000} {
			b.Run(fmt.Sprintf("%s/%d", form, watchers), func(b *testing.B) {
				cfg := store.Config{}
				if form == "durable" {
					cfg.Dir = b.TempDir()
				}
				s := openBench(b, cfg)
				start, err := s.Revision(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				var newest atomic.Int64 // revision that all have to see; 0 while the writers write
				done := make(chan int64, watchers)
				open := make([]*store.Watcher, watchers)
				for i := range open {
					if open[i], err = s.Watch(b.Context(), store.WatchRequest{Key: []byte("/registry/"), End: store.PrefixEnd([]byte("/registry/"))}); err != nil {
						b.Fatal(err)
					}
					go func() {
						got, at := int64(0), start
						for {
							if last := newest.Load(); last != 0 && at >= last {
								done <- got
								return
							}
							batch, err := open[i].Next(b.Context())
							if err != nil {
								done <- -1
								return
							}
							got, at = got+int64(len(batch.Events)), batch.Revision
						}
					}()
				}
				value := make([]byte, benchValue)
				before := cpu()
				callers(b, 100, func(i int) error {
					_, err := s.Put(b.Context(), store.PutRequest{Key: names[i%len(names)], Value: value})
					return err
				})
				writing := b.Elapsed()
				last := time.Now()
				newest.Store(start + int64(b.N))
				for _, w := range open {
					w.Progress()
				}
				for range open {
					if got := <-done; got != int64(b.N) {
						b.Fatalf("a watcher got %d of %d events", got, b.N)
					}
				}
				b.ReportMetric(float64(b.N*watchers)/(writing+time.Since(last)).Seconds(), "events/s")
				b.ReportMetric(float64(b.N)/writing.Seconds(), "puts/s")
				b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
				for _, w := range open {
					_ = w.Close()
				}
			})
		}
	}
}

// BenchmarkInterested has watchers of as many keys, of which one changes.
func BenchmarkInterested(b *testing.B) {
	for _, watchers := range []int{1, 10_000} {
		b.Run(strconv.Itoa(watchers), func(b *testing.B) {
			s := openBench(b, store.Config{})
			for _, name := range benchNames(watchers) {
				w, err := s.Watch(b.Context(), store.WatchRequest{Key: name})
				if err != nil {
					b.Fatal(err)
				}
				defer w.Close()
				go func() {
					for {
						if _, err := w.Next(b.Context()); err != nil {
							return
						}
					}
				}()
			}
			name, value := benchNames(1)[0], make([]byte, benchValue)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Put(b.Context(), store.PutRequest{Key: name, Value: value}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
