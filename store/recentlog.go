package store

import (
	"sync"

	"github.com/hashicorp/raft"
)

// Bounds on what a member of a cluster holds of Raft's log in memory.
const (
	recentBytes   = 8 << 20
	recentEntries = 512
)

// recentLog holds the newest entries in memory, since a member reads each again, to send it to others and to apply
// it. It is bounded in bytes, as entries may be large. A lone member needs none: Raft applies what a leader has
// proposed from where it is.
type recentLog struct {
	disk

	mu      sync.RWMutex
	entries []*raft.Log // with consecutive indexes; who is given one does not change it
	bytes   int
}

var _ raft.LogStore = (*recentLog)(nil)

// GetLog implements raft.LogStore.
func (l *recentLog) GetLog(index uint64, entry *raft.Log) error {
	l.mu.RLock()
	if n := len(l.entries); n > 0 && index >= l.entries[0].Index && index-l.entries[0].Index < uint64(n) {
		*entry = *l.entries[index-l.entries[0].Index]
		l.mu.RUnlock()
		return nil
	}
	l.mu.RUnlock()
	return l.disk.GetLog(index, entry)
}

// StoreLog implements raft.LogStore.
func (l *recentLog) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore. Only what is on disk is held.
func (l *recentLog) StoreLogs(entries []*raft.Log) error {
	if err := l.disk.StoreLogs(entries); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		if n := len(l.entries); n > 0 && l.entries[n-1].Index+1 != e.Index {
			l.forget(n)
		}
		l.entries = append(l.entries, e)
		l.bytes += cap(e.Data)
	}
	drop := 0
	for bytes := l.bytes; len(l.entries)-drop > recentEntries || bytes > recentBytes && drop < len(l.entries); drop++ {
		bytes -= cap(l.entries[drop].Data)
	}
	l.forget(drop)
	return nil
}

// DeleteRange implements raft.LogStore.
func (l *recentLog) DeleteRange(first, last uint64) error {
	l.mu.Lock()
	l.forget(len(l.entries))
	l.mu.Unlock()
	return l.disk.DeleteRange(first, last)
}

// forget lets the n oldest go. The caller holds the lock.
func (l *recentLog) forget(n int) {
	for _, e := range l.entries[:n] {
		l.bytes -= cap(e.Data)
	}
	clear(l.entries[:n])
	if l.entries = l.entries[n:]; len(l.entries) == 0 {
		l.entries = nil
	}
}
