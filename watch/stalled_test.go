package watch

import (
	"runtime"
	"testing"
	"weak"

	"github.com/stretchr/testify/require"
)

// TestStalledReader holds in memory where a reader is that does not read, and not all that was published since.
func TestStalledReader(t *testing.T) {
	log, err := New(Config[int]{MaxEvents: 10})
	require.NoError(t, err)
	stalled, err := log.Open(1, Selector{Prefix: "/"})
	require.NoError(t, err)
	publish := func(from, to int64) {
		for r := from; r <= to; r++ {
			require.NoError(t, log.Append(r, []Event[int]{{Key: "/k"}}))
		}
	}
	publish(1, 1)
	events, _, err := stalled.TryNext()
	require.NoError(t, err)
	require.Len(t, events, 1)
	publish(2, 5)
	fifth := weak.Make(stalled.topic.tail)
	require.NotNil(t, fifth.Value())
	publish(6, 40)
	runtime.GC()
	require.Nil(t, fifth.Value())
	_, _, err = stalled.TryNext()
	require.ErrorIs(t, err, ErrCompacted)
	require.NoError(t, stalled.Close())
}
