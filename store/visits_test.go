package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// ranged returns a state of n keys.
func ranged(t *testing.T, n int) *state {
	t.Helper()
	st := newState()
	for i := range n {
		require.NoError(t, st.apply(&command{kind: commandTxn, put: PutRequest{Key: fmt.Appendf(nil, "k/%06d", i)}}, 1).err)
	}
	return st
}

func times[T any](n int, one T) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = one
	}
	return all
}

// TestVisits has transactions on both sides of what one may visit.
func TestVisits(t *testing.T) {
	const keys = 10_000 // 1,000 passes are allowed
	zero := []byte{0}
	compares := func(n int, c Compare) []Compare {
		c.Key, c.End = zero, zero
		return times(n, c)
	}
	del := Op{Delete: &DeleteRequest{Key: []byte("x"), End: []byte("y")}}
	put := Op{Put: &PutRequest{Key: []byte("a")}}
	first := Op{Range: &RangeRequest{Key: []byte("k/"), End: zero, Limit: 1}}
	for name, test := range map[string]struct {
		txn  Txn
		want error
	}{
		"compares":                   {Txn{Compares: compares(1000, Compare{Op: Greater}), Then: []Op{put}}, nil},
		"too many compares":          {Txn{Compares: compares(1001, Compare{Op: Greater}), Then: []Op{put}}, errVisits},
		"too many compares, no then": {Txn{Compares: compares(1001, Compare{Op: Greater}), Else: []Op{put}}, errVisits},
		"compares that fail at once": {Txn{Compares: compares(2000, Compare{Op: Less}), Else: []Op{put}}, nil},
		"values": {Txn{
			Compares: compares(40, Compare{Target: CompareValue, Op: NotEqual, Value: make([]byte, 100*bytesPerVisit)}), Then: []Op{put},
		}, errVisits},
		"ranges and compares": {Txn{
			Compares: compares(500, Compare{Op: Greater}), Then: append(times(501, Op{Range: &RangeRequest{Key: zero, End: zero, KeysOnly: true}}), put),
		}, errVisits},
		"deletes of nothing": {Txn{Then: append(times(5000, del), put)}, nil},
		"deletes":            {Txn{Then: append(times(1001, Op{Delete: &DeleteRequest{Key: []byte("k/"), End: []byte("z")}}), put)}, errVisits},
		"first":              {Txn{Then: append(times(5000, first), put)}, nil},
		"first behind what was deleted": {Txn{
			Then: append([]Op{{Delete: &DeleteRequest{Key: []byte("k/"), End: []byte("k/009999")}}}, append(times(5000, first), put)...),
		}, errVisits},
		"other branch": {Txn{Compares: compares(1, Compare{Op: Less}), Then: times(5000, Op{Range: &RangeRequest{Key: zero, End: zero}}), Else: []Op{put}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, bound := range []int64{0, 1 << 40} {
				st := ranged(t, keys)
				before := st.revision
				r := st.apply(&command{kind: commandTxn, txn: &test.txn, bound: bound}, 1)
				require.ErrorIs(t, r.err, test.want)
				require.Equal(t, test.want == nil, st.current([]byte("a")) != nil)
				if test.want != nil {
					require.ErrorIs(t, r.err, ErrTooLarge)
					require.Equal(t, before, st.revision)
					require.EqualValues(t, keys, st.keys)
					_, err := st.snapshot().readTxn(t.Context(), "txn", &test.txn)
					require.ErrorIs(t, err, ErrTooLarge)
				}
			}
		})
	}
}

// TestVisitsLarge has more keys than a transaction could visit by the constant alone.
func TestVisitsLarge(t *testing.T) {
	v := view{items: tree{n: 100_000_000}}
	require.EqualValues(t, 400_000_000, v.allowed().left)
	v.items.n = 1
	require.EqualValues(t, maxVisits, v.allowed().left)
}

// TestPassage compares what a transaction pays for with a visit to each item, in trees of the same items and different
// nodes: members must come to the same number.
func TestPassage(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		var one, two tree
		var all []*version
		for i := range 2000 {
			v := &version{KV: KV{Key: fmt.Appendf(nil, "k/%05d", i), Version: int64(random.IntN(3))}}
			all = append(all, v)
			one.set(all[i])
		}
		for _, i := range random.Perm(len(all)) {
			two.set(all[i])
		}
		for range 300 {
			from, end := fmt.Appendf(nil, "k/%05d", random.IntN(2100)-50), fmt.Appendf(nil, "k/%05d", random.IntN(2100)-50)
			if random.IntN(4) == 0 {
				end = []byte{0}
			}
			enough := int64(random.IntN(3) * random.IntN(200))
			want, live := int64(1), int64(0)
			one.ascend(string(from), func(v *version) bool {
				if to := limit(end); to != "" && v.name() >= to {
					return false
				}
				want++
				live += int64(weight(v, nil))
				return enough == 0 || live <= enough
			})
			for _, items := range []tree{one, two} {
				may := visits{left: maxVisits}
				may.count(&view{items: items}, from, end, enough)
				require.Equal(t, want, maxVisits-may.left, "from %q to %q, %d", from, end, enough)
			}
		}
	}
}

// lateContext ends when it was asked so many times.
type lateContext struct {
	context.Context
	asked, ends int
}

var errLate = errors.New("late")

func (c *lateContext) Err() error {
	if c.asked++; c.asked > c.ends {
		return errLate
	}
	return nil
}

// TestReadEnds gives up transactions that only read, in the middle of them.
func TestReadEnds(t *testing.T) {
	v := ranged(t, 10_000).snapshot()
	zero := []byte{0}
	for name, txn := range map[string]Txn{
		"compares": {Compares: []Compare{{Key: zero, End: zero, Op: Greater}}},
		"ranges":   {Then: times(10, Op{Range: &RangeRequest{Key: zero, End: zero}})},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v.readTxn(t.Context(), "txn", &txn)
			require.NoError(t, err)
			for ends := range 3 {
				ctx := &lateContext{Context: t.Context(), ends: ends}
				_, err := v.readTxn(ctx, "txn", &txn)
				require.Equal(t, errLate, err)
				require.LessOrEqual(t, ctx.asked, ends+6, "it does not go on")
			}
		})
	}
}
