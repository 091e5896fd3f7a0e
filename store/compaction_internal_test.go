package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCompactionIsTriedAgain asks for what was not compacted again, also when nothing is written any more.
func TestCompactionIsTriedAgain(t *testing.T) {
	keep := compaction{retention: time.Minute, retain: -1}
	start := time.Now()
	v := &view{revision: 10}
	require.Zero(t, keep.next(start, v))
	require.EqualValues(t, 10, keep.next(start.Add(time.Minute), v))
	require.EqualValues(t, 10, keep.next(start.Add(2*time.Minute), v), "nobody led when it was due")
	v.compacted = 10
	require.Zero(t, keep.next(start.Add(3*time.Minute), v))
}
