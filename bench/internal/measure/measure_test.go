package measure

import (
	"context"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUsageOfAnyProcess(t *testing.T) {
	before, err := Of(os.Getpid())
	require.NoError(t, err)
	n := 0
	for at := time.Now(); time.Since(at) < 20*time.Millisecond; {
		n++
	}
	after, err := Of(os.Getpid())
	require.NoError(t, err)
	require.Greater(t, after.CPU, before.CPU, "after %d rounds", n)
	require.Positive(t, after.Anonymous)
	require.Greater(t, after.Resident, after.Anonymous)
	require.GreaterOrEqual(t, after.Peak, after.Resident/2)
	_, err = Of(1 << 30)
	require.Error(t, err)
}

func TestSectionIsReplacedAlone(t *testing.T) {
	doc := WithSection("# before\n", "x", "one\n")
	doc = WithSection(doc, "y", "other\n") + "words\n"
	doc = WithSection(doc, "x", "two\n")
	require.Equal(t, "# before\n\n<!-- x: begin -->\ntwo\n<!-- x: end -->\n\n<!-- y: begin -->\nother\n<!-- y: end -->\nwords\n", doc)
	begin, _ := Section("<!-- x: begin -->\nnever ended", "x")
	require.Equal(t, -1, begin)
}

func TestEachDoesEachOnce(t *testing.T) {
	var seen [100]atomic.Int64
	s, err := Each(t.Context(), 7, len(seen), func(_ context.Context, _, i int) error {
		seen[i].Add(1)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, len(seen), s.Ops)
	for i := range seen {
		require.EqualValues(t, 1, seen[i].Load())
	}
	_, err = Each(t.Context(), 2, 1000, func(_ context.Context, _, i int) error {
		if i == 3 {
			return os.ErrInvalid
		}
		return nil
	})
	require.ErrorIs(t, err, os.ErrInvalid)
}
