package watch_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-dev/keelson/watch"
	"github.com/stretchr/testify/require"
)

func newLog(t testing.TB, cfg watch.Config[int]) *watch.Log[int] {
	log, err := watch.New(cfg)
	require.NoError(t, err)
	return log
}

func open(t testing.TB, log *watch.Log[int], from int64, sel watch.Selector) *watch.Cursor[int] {
	c, err := log.Open(from, sel)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func add(t testing.TB, log *watch.Log[int], revision int64, keys ...string) {
	events := make([]watch.Event[int], len(keys))
	for i, key := range keys {
		events[i] = watch.Event[int]{Key: key, Value: i, Size: 10}
	}
	require.NoError(t, log.Append(revision, events))
}

// show writes events as "revision:key".
func show(events []watch.Event[int]) string {
	var parts []string
	for _, e := range events {
		parts = append(parts, fmt.Sprintf("%d:%s", e.Revision, e.Key))
	}
	return strings.Join(parts, " ")
}

func drain(t testing.TB, c *watch.Cursor[int]) (string, int64) {
	var all []watch.Event[int]
	for {
		events, revision, err := c.TryNext()
		require.NoError(t, err)
		if len(events) == 0 {
			return show(all), revision
		}
		all = append(all, events...)
	}
}

func TestSelectors(t *testing.T) {
	index := func(e watch.Event[int]) []string {
		terms := []string{"len=" + fmt.Sprint(len(e.Key))}
		if strings.Contains(e.Key, "b") {
			terms = append(terms, "has=b")
		}
		return terms
	}
	for _, test := range []struct {
		name string
		sel  watch.Selector
		want string
	}{
		{"everything", watch.Selector{}, "1:a 1:b 1:ab 2:abc 3:b 3:c 4:ab"},
		{"key", watch.Selector{Key: "ab"}, "1:ab 4:ab"},
		{"prefix", watch.Selector{Prefix: "a"}, "1:a 1:ab 2:abc 4:ab"},
		{"range", watch.Selector{From: "ab", To: "b"}, "1:ab 2:abc 4:ab"},
		{"range that is a prefix", watch.Selector{From: "a", To: "b"}, "1:a 1:ab 2:abc 4:ab"},
		{"from", watch.Selector{From: "b"}, "1:b 3:b 3:c"},
		{"to", watch.Selector{To: "ab"}, "1:a"},
		{"term", watch.Selector{Terms: []string{"has=b"}}, "1:b 1:ab 2:abc 3:b 4:ab"},
		{"terms", watch.Selector{Terms: []string{"len=1", "has=b"}}, "1:a 1:b 1:ab 2:abc 3:b 3:c 4:ab"},
		{"terms and prefix", watch.Selector{Terms: []string{"len=2", "has=b"}, Prefix: "ab"}, "1:ab 2:abc 4:ab"},
		{"nothing", watch.Selector{Key: "zz"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			log := newLog(t, watch.Config[int]{Index: index})
			live := open(t, log, 1, test.sel)
			add(t, log, 1, "a", "b", "ab")
			add(t, log, 2, "abc")
			half := open(t, log, 1, test.sel) // reads half from history
			add(t, log, 3, "b", "c")
			add(t, log, 4, "ab")
			past := open(t, log, 1, test.sel)
			for name, c := range map[string]*watch.Cursor[int]{"live": live, "half": half, "past": past} {
				got, revision := drain(t, c)
				require.Equal(t, test.want, got, name)
				require.EqualValues(t, 4, revision, name)
			}
		})
	}
}

func TestInvalid(t *testing.T) {
	for _, cfg := range []watch.Config[int]{{Start: -1}, {MaxBytes: -1}, {MaxEvents: -1}, {MaxAge: -1}} {
		_, err := watch.New(cfg)
		require.ErrorIs(t, err, watch.ErrConfig)
	}
	log := newLog(t, watch.Config[int]{})
	for _, sel := range []watch.Selector{{Key: "a", Prefix: "a"}, {Key: "a", From: "b"}, {From: "b", To: "a"}, {From: "a", To: "a"}} {
		_, err := log.Open(1, sel)
		require.ErrorIs(t, err, watch.ErrSelector, "%+v", sel)
	}
	add(t, log, 5, "a")
	require.ErrorIs(t, log.Append(5, nil), watch.ErrOrder)
	require.ErrorIs(t, log.Append(4, []watch.Event[int]{{Key: "a"}}), watch.ErrOrder)
	require.EqualValues(t, 5, log.Revision())
}

func TestFutureRevisionWaits(t *testing.T) {
	log := newLog(t, watch.Config[int]{})
	for _, sel := range []watch.Selector{{}, {Key: "a"}} {
		c := open(t, log, log.Revision()+3, sel)
		base := log.Revision()
		add(t, log, base+1, "a")
		got, revision := drain(t, c)
		require.Empty(t, got)
		require.Equal(t, base+1, revision, "progress must not run ahead of the log")
		add(t, log, base+2, "a")
		got, revision = drain(t, c)
		require.Empty(t, got)
		require.Equal(t, base+2, revision)
		add(t, log, base+3, "a")
		got, _ = drain(t, c)
		require.Equal(t, fmt.Sprintf("%d:a", base+3), got)
	}
}

func TestCompaction(t *testing.T) {
	log := newLog(t, watch.Config[int]{Start: 10})
	_, err := log.Open(10, watch.Selector{})
	require.ErrorIs(t, err, watch.ErrCompacted)
	slow, slowKey := open(t, log, 11, watch.Selector{}), open(t, log, 11, watch.Selector{Key: "a"})
	idle := open(t, log, 11, watch.Selector{Key: "rare"})
	add(t, log, 11, "a")
	add(t, log, 12, "b")
	log.Compact(11)
	require.EqualValues(t, 11, log.CompactRevision())
	for _, c := range []*watch.Cursor[int]{slow, slowKey} {
		for range 2 {
			_, _, err := c.TryNext()
			var compacted *watch.CompactedError
			require.ErrorAs(t, err, &compacted)
			require.EqualValues(t, 11, compacted.CompactRevision)
			require.EqualValues(t, 11, compacted.Requested)
		}
	}
	add(t, log, 13, "rare")
	got, _ := drain(t, idle)
	require.Equal(t, "13:rare", got, "a cursor that lost nothing goes on")

	// Compacting where nothing is left to deliver hurts nobody who has read everything.
	current := open(t, log, 0, watch.Selector{})
	require.NoError(t, log.Advance(20))
	log.Compact(100)
	require.EqualValues(t, 20, log.CompactRevision())
	add(t, log, 21, "x")
	got, _ = drain(t, current)
	require.Equal(t, "21:x", got)
}

func TestBounds(t *testing.T) {
	t.Run("events", func(t *testing.T) {
		log := newLog(t, watch.Config[int]{MaxEvents: 3})
		key := open(t, log, 1, watch.Selector{Key: "a"})
		add(t, log, 1, "a")
		add(t, log, 2, "b", "b2")
		require.EqualValues(t, 0, log.CompactRevision())
		add(t, log, 3, "c")
		require.EqualValues(t, 1, log.CompactRevision())
		_, _, err := key.TryNext()
		require.ErrorIs(t, err, watch.ErrCompacted)
		n, _ := log.Len()
		require.Equal(t, 3, n)
	})
	t.Run("bytes", func(t *testing.T) {
		log := newLog(t, watch.Config[int]{MaxBytes: 10_000})
		for i := range int64(1000) {
			add(t, log, i+1, "a")
		}
		n, size := log.Len()
		require.LessOrEqual(t, size, int64(10_000))
		require.Greater(t, n, 10)
		require.EqualValues(t, 1000-n, log.CompactRevision())
	})
	t.Run("age", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			log := newLog(t, watch.Config[int]{MaxAge: time.Minute})
			add(t, log, 1, "a")
			<-time.After(40 * time.Second)
			add(t, log, 2, "a")
			require.EqualValues(t, 0, log.CompactRevision())
			<-time.After(40 * time.Second)
			add(t, log, 3, "a")
			require.EqualValues(t, 1, log.CompactRevision())
		})
	})
}

func TestNextWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(t, watch.Config[int]{})
		c := open(t, log, 1, watch.Selector{Prefix: "a"})
		type answer struct {
			events   string
			revision int64
			err      error
		}
		answers := make(chan answer, 1)
		next := func(ctx context.Context) {
			events, revision, err := c.Next(ctx)
			answers <- answer{show(events), revision, err}
		}
		go next(t.Context())
		synctest.Wait()
		add(t, log, 1, "b")
		require.NoError(t, log.Advance(2))
		synctest.Wait()
		require.Empty(t, answers)
		add(t, log, 3, "a1", "b", "a2")
		require.Equal(t, answer{"3:a1 3:a2", 3, nil}, <-answers)

		go next(t.Context())
		synctest.Wait()
		require.NoError(t, log.Advance(9))
		c.Progress()
		require.Equal(t, answer{"", 9, nil}, <-answers)

		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		next(ctx)
		require.ErrorIs(t, (<-answers).err, context.DeadlineExceeded)

		go next(t.Context())
		synctest.Wait()
		require.NoError(t, c.Close())
		require.ErrorIs(t, (<-answers).err, watch.ErrClosed)
	})
}

func TestCloseDeliversWhatCameBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(t, watch.Config[int]{})
		all, key := open(t, log, 1, watch.Selector{}), open(t, log, 1, watch.Selector{Key: "a"})
		idle := open(t, log, 1, watch.Selector{Key: "z"})
		ended := make(chan error)
		go func() {
			_, _, err := idle.Next(t.Context())
			ended <- err
		}()
		add(t, log, 1, "a")
		synctest.Wait()
		why := errors.New("moved")
		log.Close(why)
		log.Close(nil)
		require.ErrorIs(t, <-ended, why)
		for _, c := range []*watch.Cursor[int]{all, key} {
			events, _, err := c.Next(t.Context())
			require.NoError(t, err)
			require.Equal(t, "1:a", show(events))
			_, _, err = c.Next(t.Context())
			require.ErrorIs(t, err, why)
		}
		require.ErrorIs(t, log.Append(2, nil), why)
		require.ErrorIs(t, log.Advance(2), why)
		_, err := log.Open(1, watch.Selector{})
		require.ErrorIs(t, err, why)
	})
}

// TestAgainstModel compares many cursors, opened and read at random moments, with a list of everything.
func TestAgainstModel(t *testing.T) {
	const seeds = 20
	for seed := range uint64(seeds) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		log := newLog(t, watch.Config[int]{
			MaxEvents: 50 + rnd.IntN(200),
			Index:     func(e watch.Event[int]) []string { return []string{fmt.Sprint(e.Value % 3), fmt.Sprint(e.Value % 2)} },
		})
		type reader struct {
			c        *watch.Cursor[int]
			next     int64
			selected func(watch.Event[int]) bool
		}
		var everything []watch.Event[int]
		var readers []*reader
		delivered, compacted := 0, 0
		selectors := []struct {
			sel watch.Selector
			f   func(watch.Event[int]) bool
		}{
			{watch.Selector{}, func(watch.Event[int]) bool { return true }},
			{watch.Selector{Key: "k3"}, func(e watch.Event[int]) bool { return e.Key == "k3" }},
			{watch.Selector{Prefix: "k1"}, func(e watch.Event[int]) bool { return strings.HasPrefix(e.Key, "k1") }},
			{watch.Selector{From: "k15", To: "k4"}, func(e watch.Event[int]) bool { return e.Key >= "k15" && e.Key < "k4" }},
			{watch.Selector{Terms: []string{"2"}}, func(e watch.Event[int]) bool { return e.Value%3 == 2 }},
			{watch.Selector{Terms: []string{"0", "1"}, Prefix: "k2"}, func(e watch.Event[int]) bool { return strings.HasPrefix(e.Key, "k2") }},
		}
		revision := int64(0)
		for range 3000 {
			switch rnd.IntN(10) {
			case 0:
				s := selectors[rnd.IntN(len(selectors))]
				from := 1 + log.CompactRevision() + rnd.Int64N(revision-log.CompactRevision()+5)
				readers = append(readers, &reader{open(t, log, from, s.sel), from, s.f})
			case 1:
				if len(readers) > 10 {
					i := rnd.IntN(len(readers))
					require.NoError(t, readers[i].c.Close())
					readers = slices.Delete(readers, i, i+1)
				}
			case 2, 3, 4, 5:
				revision += 1 + rnd.Int64N(2)
				events := make([]watch.Event[int], 1+rnd.IntN(4))
				for i := range events {
					events[i] = watch.Event[int]{Key: fmt.Sprintf("k%d", rnd.IntN(40)), Value: rnd.IntN(100), Revision: revision}
				}
				everything = append(everything, events...)
				require.NoError(t, log.Append(revision, slices.Clone(events)))
			case 6:
				if rnd.IntN(50) == 0 {
					log.Compact(rnd.Int64N(revision + 1))
				}
			default:
				if len(readers) == 0 {
					continue
				}
				i := rnd.IntN(len(readers))
				r := readers[i]
				events, upTo, err := r.c.TryNext()
				if err != nil {
					require.ErrorIs(t, err, watch.ErrCompacted)
					require.Greater(t, log.CompactRevision(), r.next-1)
					lost := slices.ContainsFunc(everything, func(e watch.Event[int]) bool {
						return e.Revision >= r.next && e.Revision <= log.CompactRevision()
					})
					require.True(t, lost, "nothing was lost from %d on", r.next)
					compacted++
					readers = slices.Delete(readers, i, i+1)
					continue
				}
				var want []watch.Event[int]
				for _, e := range everything {
					if e.Revision >= r.next && e.Revision <= upTo && r.selected(e) {
						want = append(want, e)
					}
				}
				require.Equal(t, want, slices.Clone(events), "seed %d from %d up to %d", seed, r.next, upTo)
				delivered += len(events)
				r.next = max(r.next, upTo+1)
			}
		}
		require.Greater(t, delivered, 1000)
		require.Positive(t, compacted, "seed %d: no reader fell off the tail", seed)
	}
}

// TestConcurrentReaders has the race detector look on, and each reader check order and wholeness.
func TestConcurrentReaders(t *testing.T) {
	const transactions, readers = 2000, 20
	log := newLog(t, watch.Config[int]{})
	var all sync.WaitGroup
	for i := range readers {
		sel, per := watch.Selector{}, 3
		if i%2 == 1 {
			sel, per = watch.Selector{Prefix: "b"}, 2
		}
		c := open(t, log, 1, sel)
		all.Go(func() {
			seen := 0
			for seen < transactions*per {
				events, upTo, err := c.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range events {
					if want := int64(seen/per + 1); e.Revision != want {
						t.Errorf("got revision %d, want %d", e.Revision, want)
						return
					}
					seen++
				}
				if seen%per != 0 || upTo < int64(seen/per) {
					t.Errorf("a transaction was torn: %d events up to %d", seen, upTo)
					return
				}
			}
		})
	}
	for i := range int64(transactions) {
		add(t, log, i+1, "a", "b1", "b2")
	}
	all.Wait()
}

func BenchmarkAppend(b *testing.B) {
	for _, cursors := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("idle=%d", cursors), func(b *testing.B) {
			log := newLog(b, watch.Config[int]{MaxEvents: 10_000})
			for i := range cursors {
				open(b, log, 1, watch.Selector{Key: fmt.Sprintf("/idle/%d", i)})
			}
			revision := int64(0)
			for b.Loop() {
				revision++
				if err := log.Append(revision, []watch.Event[int]{{Key: "/busy", Size: 100}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
