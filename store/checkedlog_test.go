package store

import (
	"errors"
	"testing"
	"unsafe"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// readingLog reads entries while they are stored, and only then.
type readingLog struct {
	LogStore
	t      *testing.T
	log    *checkedLog
	next   uint64
	memory map[*byte]int // where entries were
	fails  error
}

func (l *readingLog) StoreLogs(entries []*raft.Log) error {
	for _, e := range entries {
		l.memory[unsafe.SliceData(e.Data)]++
		again := *e
		require.NoError(l.t, l.log.unwrap(l.t.Context(), &again))
		require.Equal(l.t, l.next, again.Index)
		require.Len(l.t, again.Data, 100)
		require.EqualValues(l.t, l.next, again.Data[99])
		l.next++
	}
	return l.fails
}

// copyingLog says that it keeps nothing.
type copyingLog struct{ *readingLog }

func (copyingLog) CopiesEntries() {}

// TestSpareMemory stores entries in memory that is used again and again, but not after a failure, when a disk that hangs
// may still read it.
func TestSpareMemory(t *testing.T) {
	for _, seal := range []*sealer{nil, testSealer(t, 7, testKey("k"))} {
		log := &checkedLog{seal: seal, onFail: func(error) {}}
		disk := &readingLog{t: t, log: log, next: 1, memory: map[*byte]int{}}
		log.logs = copyingLog{disk}
		for i := uint64(1); i <= 90; {
			var entries []*raft.Log
			for range 1 + i%3 {
				entries = append(entries, &raft.Log{Index: i, Term: 1, Data: append(make([]byte, 99), byte(i))})
				i++
			}
			require.NoError(t, log.StoreLogs(entries))
		}
		require.Less(t, len(disk.memory), 20)
		require.NotNil(t, log.spare)
		disk.fails = errors.New("hangs")
		require.Error(t, log.StoreLog(&raft.Log{Index: disk.next, Term: 1, Data: append(make([]byte, 99), byte(disk.next))}))
		require.Nil(t, log.spare)

		log = &checkedLog{seal: seal}
		disk = &readingLog{t: t, log: log, next: 1, memory: map[*byte]int{}}
		log.logs = disk // may keep it
		for i := uint64(1); i <= 30; i++ {
			require.NoError(t, log.StoreLog(&raft.Log{Index: i, Term: 1, Data: append(make([]byte, 99), byte(i))}))
		}
		require.Nil(t, log.spare)
	}
}
