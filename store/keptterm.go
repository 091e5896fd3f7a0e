package store

import (
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// termKey is where Raft keeps its term.
const termKey = "CurrentTerm"

// termDisk is where Raft keeps its term and its vote. It knows which term is on the disk: after the disk has failed, Raft
// may think of one that is not, since it panics if it is told (see checkedLog), and nobody may hear of that.
type termDisk struct {
	raft.StableStore
	failure func() error
	kept    atomic.Uint64
}

// GetUint64 implements raft.StableStore.
func (d *termDisk) GetUint64(key []byte) (uint64, error) {
	value, err := d.StableStore.GetUint64(key)
	if err == nil && string(key) == termKey {
		d.kept.Store(value)
	}
	return value, err
}

// SetUint64 implements raft.StableStore.
func (d *termDisk) SetUint64(key []byte, value uint64) error {
	err := d.StableStore.SetUint64(key, value)
	if err == nil && string(key) == termKey && !hasFailed(d.failure()) {
		d.kept.Store(value)
	}
	return err
}

// currentTerm returns Raft's term, as far as it is on the disk.
func (d *durable) currentTerm() uint64 { return min(d.raft.CurrentTerm(), d.terms.kept.Load()) }
