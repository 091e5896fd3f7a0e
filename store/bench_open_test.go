package store_test

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keelson-dev/keelson/store"
)

// BenchmarkOpen measures the time from Open to the first durable write.
func BenchmarkOpen(b *testing.B) {
	for _, keys := range []int{0, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			dir := b.TempDir()
			if keys > 0 {
				s, err := store.Open(b.Context(), store.Config{Dir: dir})
				if err != nil {
					b.Fatal(err)
				}
				fill(b, s, benchNames(keys))
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
			for i := 0; b.Loop(); i++ {
				at := dir
				if keys == 0 {
					at = fmt.Sprintf("%s/%d", dir, i)
				}
				s, err := store.Open(b.Context(), store.Config{Dir: at})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := s.Put(b.Context(), store.PutRequest{Key: []byte("first")}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if keys > 0 {
					reportMemory(b, "")
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkMemory measures what a process takes that has put so many keys, as it stands and after a collection. Run
// each by itself, with -benchtime 1x: what ran before counts.
func BenchmarkMemory(b *testing.B) {
	for _, keys := range []int{0, 100_000, 1_000_000} {
		for _, form := range []string{"memory", "durable"} {
			b.Run(fmt.Sprintf("%s/%d", form, keys), func(b *testing.B) {
				for b.Loop() { // it forgets what was reported before
				}
				cfg := store.Config{}
				if form == "durable" {
					cfg.Dir = b.TempDir()
				}
				s := openBench(b, cfg)
				value := make([]byte, benchValue)
				const callers = 100
				start := time.Now()
				var all sync.WaitGroup
				for c := range callers {
					all.Go(func() {
						for i := c; i < keys; i += callers {
							key := fmt.Appendf(nil, "/registry/pods/%07d", i)
							if _, err := s.Put(b.Context(), store.PutRequest{Key: key, Value: value}); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
				b.ReportMetric(float64(keys)/time.Since(start).Seconds(), "put/s")
				reportMemory(b, "")
				debug.FreeOSMemory()
				reportMemory(b, "gc-")
				var stats runtime.MemStats
				runtime.ReadMemStats(&stats)
				b.ReportMetric(float64(stats.HeapAlloc)/1e6, "heap-MB")
			})
		}
	}
}

// reportMemory reports the resident memory of this process: all of it, and what is no file's.
func reportMemory(b *testing.B, prefix string) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		var kb float64
		for name, unit := range map[string]string{"VmRSS:": "rss-MB", "RssAnon:": "anon-MB"} {
			if strings.HasPrefix(line, name) {
				if _, err := fmt.Sscanf(strings.TrimPrefix(line, name), "%f", &kb); err == nil {
					b.ReportMetric(kb*1024/1e6, prefix+unit)
				}
			}
		}
	}
}
