package store

import (
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// countingDisk counts what is read from it.
type countingDisk struct {
	disk
	reads int
}

func (d *countingDisk) GetLog(index uint64, entry *raft.Log) error {
	d.reads++
	return d.disk.GetLog(index, entry)
}

// TestRecentLog holds the newest entries within its bounds, and never another one than the disk has.
func TestRecentLog(t *testing.T) {
	d, err := new(MemoryDisk).open()
	require.NoError(t, err)
	counting := &countingDisk{disk: d}
	l := &recentLog{disk: counting}
	store := func(first, last, term uint64, size int) {
		t.Helper()
		var entries []*raft.Log
		for i := first; i <= last; i++ {
			entries = append(entries, &raft.Log{Index: i, Term: term, Data: make([]byte, size)})
		}
		require.NoError(t, l.StoreLogs(entries))
		sum := 0
		for _, e := range l.entries {
			sum += cap(e.Data)
		}
		require.Equal(t, sum, l.bytes)
		require.LessOrEqual(t, l.bytes, recentBytes)
		require.LessOrEqual(t, len(l.entries), recentEntries)
	}
	read := func(index, term uint64, fromDisk int) {
		t.Helper()
		counting.reads = 0
		var entry raft.Log
		require.NoError(t, l.GetLog(index, &entry))
		require.Equal(t, index, entry.Index)
		require.Equal(t, term, entry.Term)
		require.Equal(t, fromDisk, counting.reads)
	}
	store(1, 3, 1, 10)
	read(1, 1, 0)
	read(3, 1, 0)
	require.NoError(t, l.DeleteRange(2, 3)) // another leader's take their place
	var entry raft.Log
	require.ErrorIs(t, l.GetLog(3, &entry), raft.ErrLogNotFound)
	store(2, 2, 2, 10)
	read(1, 1, 1)
	read(2, 2, 0)
	store(3, recentEntries+4, 2, 0)
	read(4, 2, 1)
	read(5, 2, 0)
	store(recentEntries+5, recentEntries+12, 2, recentBytes/4)
	require.Len(t, l.entries, 4)
	store(recentEntries+13, recentEntries+13, 2, recentBytes+1)
	require.Empty(t, l.entries)
	read(recentEntries+13, 2, 1)
	store(recentEntries+14, recentEntries+14, 2, 1)
	read(recentEntries+14, 2, 0)
	read(recentEntries+13, 2, 1)
}
