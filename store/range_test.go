package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// visited counts the keys of a range one by one.
func (v *view) visited(start, end []byte) (n int64) {
	v.ascend(start, end, v.revision, func(*version) bool {
		n++
		return true
	})
	return n
}

// checkCounts compares the counts that the tree keeps with those of a visit.
func checkCounts(t *testing.T, v *view, names [][]byte) {
	t.Helper()
	require.Equal(t, v.visited([]byte{0}, []byte{0}), int64(v.items.count("", "")))
	require.Equal(t, v.keys, int64(v.items.count("", "")))
	for i, from := range names {
		for _, end := range [][]byte{{0}, names[(i*7+3)%len(names)], PrefixEnd(from)} {
			want := v.visited(from, end)
			all := v.rangeAt(&RangeRequest{Key: from, End: end})
			require.Equal(t, want, all.Count, "from %q to %q", from, end)
			require.Len(t, all.KVs, int(want))
			page := v.rangeAt(&RangeRequest{Key: from, End: end, Limit: 2})
			require.Equal(t, want, page.Count, "from %q to %q", from, end)
			require.Len(t, page.KVs, int(min(want, 2)))
			require.Equal(t, want > 2, page.More)
			require.Equal(t, want, v.rangeAt(&RangeRequest{Key: from, End: end, CountOnly: true}).Count, "from %q to %q", from, end)
		}
	}
}

// TestCounts puts, deletes, compacts and restores, and counts what is left, also in older views and inside of a
// transaction.
func TestCounts(t *testing.T) {
	var names [][]byte
	for i := range 150 {
		names = append(names, fmt.Appendf(nil, "/%d/%03d", i%3, i))
	}
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 0))
		st := newState()
		name := func() []byte { return names[random.IntN(len(names))] }
		type past struct {
			view  *view
			count int64
		}
		var olds []past
		for step := range 1500 {
			cmd := command{kind: commandTxn}
			switch random.IntN(12) {
			case 0, 1, 2:
				cmd.txn = &Txn{Then: []Op{{Delete: &DeleteRequest{Key: name()}}}}
			case 3:
				put, del := names[random.IntN(75)], names[75+random.IntN(75)]
				all := &RangeRequest{Key: []byte{0}, End: []byte{0}, CountOnly: true}
				cmd.txn = &Txn{Then: []Op{{Range: all}, {Put: &PutRequest{Key: put}}, {Delete: &DeleteRequest{Key: del}}, {Range: all}}}
				before := st.visited(all.Key, all.End)
				after := before
				if st.current(put) == nil {
					after++
				}
				if st.current(del) != nil {
					after--
				}
				r := st.apply(&cmd, 1)
				require.NoError(t, r.err)
				require.Equal(t, before, r.txn.Responses[0].Range.Count)
				require.Equal(t, after, r.txn.Responses[3].Range.Count)
				continue
			case 4:
				cmd.txn = &Txn{Then: []Op{{Delete: &DeleteRequest{Key: name(), End: name()}}}}
			case 5:
				cmd = command{kind: commandCompact, revision: st.compacted + random.Int64N(st.revision-st.compacted+1)}
			case 6:
				if step%50 == 0 {
					var file bytes.Buffer
					require.NoError(t, st.encodeWith(&file, st.sessions))
					again, err := decodeSnapshot(&file, formatVersion)
					require.NoError(t, err)
					st = again
				}
				v := st.snapshot()
				olds = append(olds, past{v, v.visited([]byte{0}, []byte{0})})
				continue
			default:
				cmd.put = PutRequest{Key: name()}
			}
			st.apply(&cmd, 1)
		}
		checkCounts(t, &st.view, names)
		for _, old := range olds {
			require.Equal(t, old.count, int64(old.view.items.count("", "")))
		}
		require.NoError(t, st.renew())
		checkCounts(t, &st.view, names)
	}
}
