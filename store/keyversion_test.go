package store

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestUpTo compares a search in the versions of a key with a walk, and counts how far it goes.
func TestUpTo(t *testing.T) {
	var all []*version
	for i := range 3000 {
		all = append(all, &version{KV: KV{ModRevision: 2 * int64(i), Version: 1}})
	}
	newest := chain(all)
	require.Equal(t, all, newest.since(newest.oldest()))
	require.Equal(t, all[10:21], all[20].since(all[10]))
	require.Nil(t, newest.upTo(-1))
	for i, v := range all {
		require.EqualValues(t, i, v.depth)
		for _, revision := range []int64{2 * int64(i), 2*int64(i) + 1} {
			require.Same(t, v, newest.upTo(revision))
		}
		steps := 0
		for at := newest; at != v; steps++ {
			if at.jump.ModRevision >= v.ModRevision {
				at = at.jump
			} else {
				at = at.prev
			}
		}
		require.LessOrEqual(t, steps, 3*12, "of 3000")
	}
}

// TestOldViews reads views at their own revision and at older ones while the state goes on, and compares the answers with
// those of when they were taken.
func TestOldViews(t *testing.T) {
	everything := &RangeRequest{Key: []byte{0}, End: []byte{0}}
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 2))
		st := newState()
		name := func() []byte { return fmt.Appendf(nil, "k%02d", random.IntN(40)) }
		type answer struct {
			view     *view
			revision int64
			result   RangeResult
			changes  []change
		}
		var answers []answer
		moved := 0
		for range 2000 {
			cmd := command{kind: commandTxn}
			switch random.IntN(20) {
			case 0:
				cmd = command{kind: commandCompact, revision: st.compacted + random.Int64N(st.revision-st.compacted+1)}
				moved++
			case 1, 2, 3:
				cmd.txn = &Txn{Then: []Op{{Delete: &DeleteRequest{Key: name()}}}}
			case 4:
				v := st.snapshot()
				at := *everything
				at.Revision = max(1, v.compacted) + random.Int64N(v.revision-max(1, v.compacted)+1)
				for _, req := range []*RangeRequest{everything, &at} {
					answers = append(answers, answer{v, req.Revision, v.rangeAt(req), v.history(max(2, v.compacted+1), v.revision, 0)})
				}
				continue
			default:
				cmd.put = PutRequest{Key: name(), Value: name()}
			}
			st.apply(&cmd, 1)
		}
		require.NotZero(t, moved)
		require.NotEmpty(t, answers)
		for _, a := range answers {
			again := *everything
			again.Revision = a.revision
			require.Equal(t, a.result, a.view.rangeAt(&again), "at %d of %d", a.revision, a.view.revision)
			require.Equal(t, a.changes, a.view.history(max(2, a.view.compacted+1), a.view.revision, 0))
		}
		for _, v := range st.touched {
			require.Same(t, v, st.items.get(v.name()).upTo(v.ModRevision), "what is touched is what is kept")
			require.Nil(t, v.moved)
		}
	}
}

// TestViewsWhileWriting reads views twice while a writer changes, deletes and compacts: what a view has stays as it is.
func TestViewsWhileWriting(t *testing.T) {
	s, err := Open(t.Context(), Config{})
	require.NoError(t, err)
	defer s.Close()
	name := func(i int) []byte { return fmt.Appendf(nil, "k%02d", i%60) }
	var over atomic.Bool
	var readers sync.WaitGroup
	for r := range 2 {
		readers.Go(func() {
			for i := r; !over.Load(); i++ {
				v, err := s.SerializableView()
				require.NoError(t, err)
				kv, found := v.Get(name(i))
				all, err := v.Range(RangeRequest{Key: []byte{0}, End: []byte{0}})
				require.NoError(t, err)
				require.Len(t, all.KVs, int(all.Count))
				again, foundAgain := v.Get(name(i))
				require.Equal(t, found, foundAgain)
				require.Equal(t, kv, again)
				require.LessOrEqual(t, kv.ModRevision, v.Revision())
			}
		})
	}
	for i := range 3000 {
		switch {
		case i%50 == 49:
			require.NoError(t, s.Compact(t.Context(), s.current.Load().revision-int64(i%7)))
		case i%17 == 16:
			_, err = s.Delete(t.Context(), DeleteRequest{Key: name(i)})
		default:
			_, err = s.Put(t.Context(), PutRequest{Key: name(i * 7), Value: name(i)})
		}
		require.NoError(t, err)
	}
	over.Store(true)
	readers.Wait()
}
