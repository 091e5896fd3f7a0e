package fieldmanager

import (
	"hash/maphash"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sets lets objects that are written in the same way, such as the pods of one template, share the memory of their field sets.
// It remembers some recent ones. Sets are never written to.
type sets struct {
	seed maphash.Seed

	mu     sync.Mutex
	recent map[uint64][]byte
}

// maxSets and maxSetBytes bound what is remembered.
const (
	maxSets     = 64
	maxSetBytes = 8 << 10
)

func newSets() *sets {
	return &sets{seed: maphash.MakeSeed(), recent: map[uint64][]byte{}}
}

// keep answers the set as a field, in memory that others may have too.
func (s *sets) keep(raw []byte) *metav1.FieldsV1 {
	out := &metav1.FieldsV1{}
	if len(raw) > maxSetBytes {
		out.SetRawBytes(raw)
		return out
	}
	sum := maphash.Bytes(s.seed, raw)
	s.mu.Lock()
	had := s.recent[sum]
	if string(had) == string(raw) {
		raw = had
	} else {
		if len(s.recent) >= maxSets {
			clear(s.recent)
		}
		raw = append(make([]byte, 0, len(raw)), raw...)
		s.recent[sum] = raw
	}
	s.mu.Unlock()
	out.SetRawBytes(raw)
	return out
}
