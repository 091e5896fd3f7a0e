package store_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// metamorphicOps is a list of operations that one seed determines. Each runs at a store and returns what it answered.
func metamorphicOps(seed uint64) (ops []func(t *testing.T, s *store.Store) any) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	key := func() []byte { return fmt.Append(nil, "k", rnd.IntN(12)) }
	puts := 0
	put := func() store.Op {
		puts++
		return store.Op{Put: &store.PutRequest{Key: key(), Value: fmt.Append(nil, puts), PrevKV: rnd.IntN(2) == 0}}
	}
	scan := func() store.Op {
		return store.Op{Range: &store.RangeRequest{Key: []byte("k"), End: []byte("l"), Limit: rnd.Int64N(5), SortDescend: rnd.IntN(2) == 0}}
	}
	remove := func() store.Op { return store.Op{Delete: &store.DeleteRequest{Key: key(), PrevKV: true}} }
	for i := range 150 {
		var txn store.Txn
		switch rnd.IntN(8) {
		case 0:
			txn.Then = []store.Op{remove()}
		case 1:
			txn.Then = []store.Op{scan()}
		case 2, 3:
			txn.Compares = []store.Compare{{Key: key(), Target: store.CompareVersion, Op: store.Greater, Number: rnd.Int64N(4)}}
			inner := store.Txn{Then: []store.Op{scan()}}
			txn.Then, txn.Else = []store.Op{put(), {Txn: &inner}}, []store.Op{scan(), remove()}
		case 4:
			if i%4 == 0 {
				ops = append(ops, func(t *testing.T, s *store.Store) any {
					revision, err := s.Revision(t.Context())
					require.NoError(t, err)
					if revision < 8 {
						return nil
					}
					return []any{revision, fmt.Sprint(s.Compact(t.Context(), revision-5) != nil)}
				})
				continue
			}
			txn.Then = []store.Op{put()}
		default:
			txn.Then = []store.Op{put()}
		}
		ops = append(ops, func(t *testing.T, s *store.Store) any {
			res, err := s.Txn(t.Context(), txn)
			require.NoError(t, err)
			return res
		})
	}
	return ops
}

// metamorphicRun runs operations at members, each at one by chance, with restarts in between, and returns all answers and
// what is there in the end.
func metamorphicRun(t *testing.T, seed, chance uint64, names []string, edit func(*store.Config)) (answers []string) {
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(seed, chance))
		f := newFleet(names...)
		defer f.closeAll(t)
		for _, name := range names {
			f.open(t, name, edit)
		}
		restarts, snapshots := 0, 0
		note := func(answer any) {
			text, err := json.Marshal(answer)
			require.NoError(t, err)
			answers = append(answers, string(text))
		}
		for _, op := range metamorphicOps(seed) {
			name := names[rnd.IntN(len(names))]
			if rnd.IntN(15) == 0 {
				f.close(t, name)
				f.open(t, name, edit)
				restarts++
			}
			if rnd.IntN(20) == 0 {
				if f.members[name].Compacting() == nil { // it fails if there is nothing new
					snapshots++
				}
			}
			note(op(t, f.members[name]))
		}
		require.Positive(t, restarts)
		require.Positive(t, snapshots)
		res, err := f.members[names[0]].Range(t.Context(), store.RangeRequest{Key: []byte{0}, End: []byte{0}})
		require.NoError(t, err)
		note(res)
		status := statusOf(t, f.members[names[0]])
		note([]int64{status.Revision, status.CompactRevision, int64(status.Keys), status.Bytes})
	})
	return answers
}

// TestSameAnswersEverywhere has one list of operations give the same answers at one member and at three, however they
// share entries, and wherever members are restarted or their logs replaced by snapshots.
func TestSameAnswersEverywhere(t *testing.T) {
	single := func(cfg *store.Config) { cfg.MaxBatchBytes = 1 }
	for seed := range uint64(4) {
		want := metamorphicRun(t, seed, 1, []string{"a"}, nil)
		require.Greater(t, len(want), 100)
		require.Equal(t, want, metamorphicRun(t, seed, 2, []string{"a"}, single), "seed %d, one member, a command an entry", seed)
		require.Equal(t, want, metamorphicRun(t, seed, 3, simNames, nil), "seed %d, three members", seed)
		require.Equal(t, want, metamorphicRun(t, seed, 4, simNames, single), "seed %d, three members, a command an entry", seed)
	}
}
