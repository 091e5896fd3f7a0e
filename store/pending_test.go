package store

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStart starts writes on each kind of store and compares with what the methods that wait say.
func TestStart(t *testing.T) {
	memory, err := Open(t.Context(), Config{QuotaBytes: 1 << 20})
	require.NoError(t, err)
	disk, err := Open(t.Context(), Config{Dir: t.TempDir(), QuotaBytes: 1 << 20})
	require.NoError(t, err)
	for name, s := range map[string]*Store{"memory": memory, "raft": disk} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			wait := func(start func(done func(error)) *Pending) error {
				over := make(chan error, 2)
				require.NotNil(t, start(func(err error) { over <- err }))
				err := <-over
				require.Empty(t, over)
				return err
			}
			put := func(req PutRequest) (res PutResult, err error) {
				err = wait(func(done func(error)) *Pending {
					return s.StartPut(&req, func(r PutResult, err error) { res = r; done(err) })
				})
				return res, err
			}
			txn := func(txn Txn) (res TxnResult, err error) {
				err = wait(func(done func(error)) *Pending {
					return s.StartTxn(&txn, func(r TxnResult, err error) { res = r; done(err) })
				})
				return res, err
			}
			res, err := put(PutRequest{Key: []byte("a"), Value: []byte("1")})
			require.NoError(t, err)
			again, err := s.Put(ctx, PutRequest{Key: []byte("a"), Value: []byte("2")})
			require.NoError(t, err)
			require.Equal(t, again.Revision, res.Revision+1)
			kv, _, err := s.Get(ctx, []byte("a"))
			require.NoError(t, err)
			require.Equal(t, "2", string(kv.Value))

			op := Op{Put: &PutRequest{Key: []byte("a"), Value: []byte("3"), PrevKV: true}}
			for _, mod := range []int64{again.Revision, again.Revision} {
				compare := []Compare{{Key: []byte("a"), Target: CompareMod, Number: mod}}
				got, err := txn(Txn{Compares: compare, Then: []Op{op}, Else: []Op{{Range: &RangeRequest{Key: []byte("a")}}}})
				require.NoError(t, err)
				require.Equal(t, again.Revision+1, got.Revision)
				if got.Succeeded {
					require.Equal(t, "2", string(got.Responses[0].Put.PrevKV.Value))
				} else {
					require.Equal(t, "3", string(got.Responses[0].Range.KVs[0].Value))
				}
			}
			single, err := txn(Txn{Then: []Op{op}})
			require.NoError(t, err)
			require.True(t, single.Succeeded)
			require.Equal(t, single.Revision, single.Responses[0].Put.Revision)

			for _, req := range []PutRequest{
				{}, {Key: []byte("a"), Lease: 77}, {Key: []byte("none"), IgnoreValue: true}, {Key: []byte("a"), IgnoreLease: true, Lease: 1},
				{Key: []byte("a"), Value: make([]byte, 8<<20)}, {Key: []byte("a"), Value: make([]byte, 1<<20)},
			} {
				_, want := s.Put(ctx, req)
				_, got := put(req)
				require.Error(t, want)
				require.Equal(t, want.Error(), got.Error())
			}
			for _, wrong := range []Txn{{Then: []Op{{}}}, {Then: []Op{op, op}}, {Then: []Op{op, {Range: &RangeRequest{Key: []byte("a"), Revision: 999}}}}} {
				_, want := s.Txn(ctx, wrong)
				_, got := txn(wrong)
				require.Error(t, want)
				require.Equal(t, want, got)
			}
			require.Nil(t, s.StartTxn(&Txn{Then: []Op{{Range: &RangeRequest{Key: []byte("a")}}}}, nil), "it only reads")

			// Who writes from where it is told goes on and on, and all of it counts.
			const writes = 1000
			var all sync.WaitGroup
			all.Add(writes)
			var next func(n int)
			next = func(n int) {
				s.StartPut(&PutRequest{Key: fmt.Appendf(nil, "chain %d", n%10)}, func(_ PutResult, err error) {
					if err != nil {
						t.Errorf("write %d: %v", n, err)
					}
					all.Done()
					if n++; n%100 != 0 {
						next(n)
					}
				})
			}
			for n := range writes / 100 {
				next(n * 100)
			}
			all.Wait()
			now, err := s.Revision(ctx)
			require.NoError(t, err)
			require.Equal(t, single.Revision+writes, now)

			require.NoError(t, s.Close())
			_, err = put(PutRequest{Key: []byte("a")})
			require.ErrorIs(t, err, ErrClosed)
		})
	}
}

// TestStartAbandoned abandons writes that wait for a leader that does not come, and looks that nothing of them is kept.
func TestStartAbandoned(t *testing.T) {
	q := batches{}
	m := &member{durable: &durable{store: &Store{}}}
	var told int
	start := func() *Pending {
		p := &Pending{store: m.store, put: func(PutResult, error) { told++ }}
		cmd := command{kind: commandTxn, put: PutRequest{Key: []byte("a")}, pending: p}
		q.add(&cmd, 1000, 0, func(b *batch) { b.first = 1; m.waiting.all = append(m.waiting.all, b) })
		return p
	}
	first, second := start(), start()
	require.Same(t, first.batch, second.batch)
	first.Abandon()
	first.Abandon()
	m.waiting.queue = q
	require.EqualValues(t, 1, first.batch.abandoned.Load())
	second.Abandon()
	require.Nil(t, m.batch())
	require.Empty(t, m.waiting.all)
	first.batch.finish(nil, context.Canceled)
	require.Zero(t, told)
	// One that is told can't be abandoned any more.
	q = nil
	third := start()
	third.batch.finish(make([]result, 1), nil)
	third.Abandon()
	require.Equal(t, 1, told)
	require.Zero(t, third.batch.abandoned.Load())
}
