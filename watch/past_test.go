package watch_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/keelson-dev/keelson/watch"
	"github.com/stretchr/testify/require"
)

// archive keeps everything, as a store behind a log does, and counts how often it is asked.
type archive struct {
	all       []watch.Transaction[int]
	compacted int64
	limit     int
	asked     int
}

func (a *archive) append(log *watch.Log[int], transactions ...watch.Transaction[int]) error {
	for _, txn := range transactions {
		a.all = append(a.all, watch.Transaction[int]{Revision: txn.Revision, Events: append([]watch.Event[int](nil), txn.Events...)})
	}
	return log.AppendAll(transactions)
}

func (a *archive) past(from, to int64) (found []watch.Transaction[int], through int64, ok bool) {
	a.asked++
	if from <= a.compacted {
		return nil, 0, false
	}
	for _, txn := range a.all {
		if txn.Revision < from || txn.Revision > to {
			continue
		}
		if len(found) == a.limit {
			return found, found[len(found)-1].Revision, true
		}
		found = append(found, watch.Transaction[int]{Revision: txn.Revision, Events: append([]watch.Event[int](nil), txn.Events...)})
	}
	return found, to, true
}

// TestPast reads what the log has dropped from where it is kept, then what the log has, then what comes, without gap
// or repeat, whatever was selected.
func TestPast(t *testing.T) {
	const revisions, kept = 300, 20
	for _, sel := range []watch.Selector{{}, {Key: "/a/1"}, {Prefix: "/a/"}, {From: "/a/1", To: "/b/2"}} {
		t.Run(fmt.Sprint(sel), func(t *testing.T) {
			a := &archive{limit: 7}
			log, err := watch.New(watch.Config[int]{MaxEvents: kept, Past: a.past})
			require.NoError(t, err)
			publish := func(from, to int64) {
				var transactions []watch.Transaction[int]
				for r := from; r <= to; r++ {
					txn := watch.Transaction[int]{Revision: r}
					for i := range int(r % 4) {
						txn.Events = append(txn.Events, watch.Event[int]{Key: fmt.Sprintf("/%c/%d", "ab"[r%2], i), Value: int(r)})
					}
					transactions = append(transactions, txn)
				}
				require.NoError(t, a.append(log, transactions...))
			}
			publish(1, revisions)
			events, _ := log.Len()
			require.LessOrEqual(t, events, kept)
			early, err := log.Open(1, sel)
			require.NoError(t, err)
			idle, err := log.Open(0, sel)
			require.NoError(t, err)
			publish(revisions+1, 2*revisions)
			for from, cursor := range map[int64]*watch.Cursor[int]{1: early, revisions + 1: idle} {
				at, last := from, int64(0)
				var got []watch.Event[int]
				for at <= 2*revisions {
					events, through, err := cursor.TryNext()
					require.NoError(t, err)
					require.GreaterOrEqual(t, through, at)
					for _, e := range events {
						require.GreaterOrEqual(t, e.Revision, at)
						require.LessOrEqual(t, e.Revision, through)
						require.GreaterOrEqual(t, e.Revision, last)
						last = e.Revision
					}
					got, at = append(got, events...), through+1
				}
				var want []watch.Event[int]
				for _, txn := range a.all[from-1:] {
					for _, e := range txn.Events {
						e.Revision = txn.Revision
						if sel.Key == "/a/1" && e.Key != sel.Key || sel.Prefix != "" && e.Key[:3] != sel.Prefix || sel.To != "" && (e.Key < sel.From || e.Key >= sel.To) {
							continue
						}
						want = append(want, e)
					}
				}
				require.Equal(t, want, got)
			}
			require.Greater(t, a.asked, revisions/7) // it was needed

			behind, err := log.Open(5, sel)
			require.NoError(t, err)
			a.compacted = 9
			_, _, err = behind.TryNext()
			require.ErrorIs(t, err, watch.ErrCompacted)
			log.Compact(9)
			_, err = log.Open(9, sel)
			require.ErrorIs(t, err, watch.ErrCompacted)
			_, err = log.Open(10, sel)
			require.NoError(t, err)
		})
	}
}

// TestWake has many readers of one prefix that come, go, give up and ask for progress while something is published
// all the time: nobody is forgotten, and everybody gets everything.
func TestWake(t *testing.T) {
	const readers, revisions = 50, 400
	log, err := watch.New(watch.Config[int]{})
	require.NoError(t, err)
	var all sync.WaitGroup
	var first sync.Once
	gaveUp := make(chan struct{})
	published := make(chan struct{})
	for i := range readers {
		cursor, err := log.Open(1, watch.Selector{Prefix: "/"})
		require.NoError(t, err)
		all.Go(func() {
			defer cursor.Close()
			at := int64(0)
			for at < revisions {
				ctx, cancel := context.WithCancel(t.Context())
				switch {
				case i%5 == 1:
					go cancel() // it gives up, sometimes while it is being woken
				case i%5 == 2:
					cursor.Progress()
				}
				events, through, err := cursor.Next(ctx)
				cancel()
				if errors.Is(err, context.Canceled) {
					first.Do(func() { close(gaveUp) })
					continue
				}
				if err != nil {
					t.Errorf("reader %d: %v", i, err)
					return
				}
				for _, e := range events {
					if at++; e.Revision != at {
						t.Errorf("reader %d got revision %d for %d", i, e.Revision, at)
						return
					}
				}
				if through < at {
					t.Errorf("reader %d has seen %d, and is told %d", i, at, through)
				}
				if i%5 == 3 && at >= revisions/2 {
					return // it closes while others wait for it to wake them
				}
			}
		})
	}
	go func() {
		defer close(published)
		for r := range int64(revisions) {
			if r == revisions/2 {
				<-gaveUp // while there was nothing to read
			}
			if err := log.Append(r+1, []watch.Event[int]{{Key: "/k"}}); err != nil {
				t.Error(err)
			}
		}
	}()
	<-published
	all.Wait()
}

// TestWakeOne publishes to readers of which the one that is woken first never comes back for more: the others are
// woken all the same.
func TestWakeOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, err := watch.New(watch.Config[int]{})
		require.NoError(t, err)
		var got atomic.Int64
		stop := make(chan struct{})
		for range 10 {
			cursor, err := log.Open(0, watch.Selector{})
			require.NoError(t, err)
			go func() {
				if _, _, err := cursor.Next(t.Context()); err == nil {
					got.Add(1)
				}
				<-stop // it is busy with what it got
			}()
		}
		synctest.Wait()
		require.NoError(t, log.Append(1, []watch.Event[int]{{Key: "/k"}}))
		synctest.Wait()
		require.EqualValues(t, 10, got.Load())
		close(stop)
	})
}
