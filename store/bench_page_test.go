package store_test

import (
	"testing"

	"github.com/keelson-dev/keelson/store"
)

// BenchmarkPage reads the first thousand of the keys, and how many there are.
func BenchmarkPage(b *testing.B) {
	s := openBench(b, store.Config{})
	fill(b, s, benchNames(benchKeys))
	b.ReportAllocs()
	for b.Loop() {
		res, err := s.Range(b.Context(), store.RangeRequest{Key: []byte("/"), End: store.PrefixEnd([]byte("/")), Limit: 1000})
		if err != nil || len(res.KVs) != 1000 || res.Count != benchKeys {
			b.Fatal(err, len(res.KVs), res.Count)
		}
	}
}
