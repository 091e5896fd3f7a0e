package store

import (
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// TestSnapshotEdge asks for the entry at a snapshot's index, which the log may not have.
func TestSnapshotEdge(t *testing.T) {
	for _, test := range []struct {
		name  string
		logs  []uint64
		index uint64
		term  uint64 // 0 means that it is not there
	}{
		{"compacted away", []uint64{6, 7}, 5, 3},
		{"a gap after a snapshot that was sent", []uint64{1, 2, 6}, 5, 3},
		{"below the snapshot", []uint64{6, 7}, 4, 0},
		{"behind everything", []uint64{6, 7}, 8, 0},
		{"in the log", []uint64{4, 5, 6}, 5, 1},
		{"a restore in an entry's place", []uint64{4, 6}, 5, 0},
		{"an older snapshot", []uint64{6, 7}, 3, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			memory := &MemoryDisk{}
			behind, err := memory.open()
			require.NoError(t, err)
			edge := &edgeDisk{disk: behind}
			for _, index := range test.logs {
				require.NoError(t, edge.StoreLog(&raft.Log{Index: index, Term: 1}))
			}
			for _, index := range []uint64{3, 5} {
				sink, err := memory.Create(1, index, 3, raft.Configuration{}, 1, nil)
				require.NoError(t, err)
				require.NoError(t, sink.Close())
			}
			_, err = edge.snapshots(zap.NewNop())
			require.NoError(t, err)
			var entry raft.Log
			err = edge.GetLog(test.index, &entry)
			if test.term == 0 {
				require.ErrorIs(t, err, raft.ErrLogNotFound)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.index, entry.Index)
			require.Equal(t, test.term, entry.Term)
		})
	}
}
