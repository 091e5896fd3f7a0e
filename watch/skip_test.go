package watch_test

import (
	"errors"
	"testing"

	"github.com/keelson-dev/keelson/watch"
	"github.com/stretchr/testify/require"
)

// TestSkip loses the history between what was appended and a later revision: who has not seen it is told, who wants
// what comes behind goes on.
func TestSkip(t *testing.T) {
	log, err := watch.New(watch.Config[string]{})
	require.NoError(t, err)
	require.NoError(t, log.Append(2, []watch.Event[string]{{Key: "a", Value: "2"}}))
	open := func(from int64, sel watch.Selector) *watch.Cursor[string] {
		c, err := log.Open(from, sel)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		return c
	}
	a := watch.Selector{Key: "a"}
	ended := []*watch.Cursor[string]{open(2, a), open(3, a), open(9, a), open(1, watch.Selector{}), open(9, watch.Selector{})}
	going := []*watch.Cursor[string]{open(10, a), open(10, watch.Selector{}), open(11, a)}
	log.Skip(9)
	log.Skip(4) // long gone
	require.EqualValues(t, 9, log.Revision())
	require.EqualValues(t, 9, log.CompactRevision())
	require.ErrorIs(t, log.Append(9, []watch.Event[string]{{Key: "a"}}), watch.ErrOrder)
	_, err = log.Open(9, a)
	require.ErrorIs(t, err, watch.ErrCompacted)
	require.NoError(t, log.Append(11, []watch.Event[string]{{Key: "a", Value: "11"}}))
	for i, c := range ended {
		_, _, err := c.TryNext()
		var compacted *watch.CompactedError
		require.True(t, errors.As(err, &compacted), "%d: %v", i, err)
		require.EqualValues(t, 9, compacted.CompactRevision)
	}
	for _, c := range going {
		events, revision, err := c.TryNext()
		require.NoError(t, err)
		require.EqualValues(t, 11, revision)
		require.Len(t, events, 1)
		require.Equal(t, "11", events[0].Value)
	}
	log.Close(nil)
	log.Skip(20)
	require.EqualValues(t, 11, log.Revision())
}
