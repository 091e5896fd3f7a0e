package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

func watchFrom(t *testing.T, s Store, req store.WatchRequest) *store.Watcher {
	t.Helper()
	w, err := s.Watch(t.Context(), req)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

// history writes events as "revision±key=value(previous value)".
func history(events []store.Event) string {
	var parts []string
	for _, e := range events {
		part := fmt.Sprintf("%d+%s=%s", e.KV.ModRevision, e.KV.Key, e.KV.Value)
		if e.Type == store.EventDelete {
			part = fmt.Sprintf("%d-%s", e.KV.ModRevision, e.KV.Key)
		}
		if e.PrevKV != nil {
			part += fmt.Sprintf("(%s)", e.PrevKV.Value)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " ")
}

func seen(t *testing.T, w *store.Watcher) (string, int64) {
	t.Helper()
	var events []store.Event
	for {
		batch, err := w.TryNext()
		require.NoError(t, err)
		if len(batch.Events) == 0 {
			return history(events), batch.Revision
		}
		events = append(events, batch.Events...)
	}
}

func testWatch(t *testing.T, opener Opener) {
	s := Open(t, opener, store.Config{})
	live := watchFrom(t, s, store.WatchRequest{Key: []byte{0}, End: []byte{0}, PrevKV: true})
	require.EqualValues(t, 2, live.Start())
	put(t, s, "a/1", "x") // 2
	put(t, s, "a/1", "y") // 3
	_, err := s.Txn(t.Context(), store.Txn{Then: []store.Op{putOp("b", "1"), delOp("a/1", ""), putOp("a/2", "z")}})
	require.NoError(t, err)  // 4
	put(t, s, "a/1", "back") // 5
	all := "2+a/1=x 3+a/1=y(x) 4+b=1 4-a/1(y) 4+a/2=z 5+a/1=back"
	got, revision := seen(t, live)
	require.Equal(t, all, got)
	require.EqualValues(t, 5, revision)
	a, b := []byte("a/1"), []byte("b")
	for _, test := range []struct {
		name string
		req  store.WatchRequest
		want string
	}{
		{"all", store.WatchRequest{Key: []byte{0}, End: []byte{0}, Revision: 1, PrevKV: true}, all},
		{"key", store.WatchRequest{Key: a, Revision: 1}, "2+a/1=x 3+a/1=y 4-a/1 5+a/1=back"},
		{"key from", store.WatchRequest{Key: a, Revision: 4}, "4-a/1 5+a/1=back"},
		{"prefix", store.WatchRequest{Key: []byte("a/"), End: store.PrefixEnd([]byte("a/")), Revision: 4}, "4-a/1 4+a/2=z 5+a/1=back"},
		{"range", store.WatchRequest{Key: []byte("a/2"), End: []byte("zz"), Revision: 1}, "4+b=1 4+a/2=z"},
		{"from key", store.WatchRequest{Key: b, End: []byte{0}, Revision: 1}, "4+b=1"},
		{"no puts", store.WatchRequest{Key: a, Revision: 1, NoPut: true, PrevKV: true}, "4-a/1(y)"},
		{"no deletes", store.WatchRequest{Key: a, Revision: 1, NoDelete: true}, "2+a/1=x 3+a/1=y 5+a/1=back"},
		{"now", store.WatchRequest{Key: a}, ""},
		{"future", store.WatchRequest{Key: a, Revision: 7}, ""},
	} {
		w := watchFrom(t, s, test.req)
		got, revision := seen(t, w)
		require.Equal(t, test.want, got, test.name)
		require.EqualValues(t, 5, revision, test.name)
	}
	_, err = s.Watch(t.Context(), store.WatchRequest{})
	require.ErrorIs(t, err, store.ErrEmptyKey)
	_, err = s.Watch(t.Context(), store.WatchRequest{Key: b, End: a})
	require.ErrorIs(t, err, store.ErrInvalid)
	_, err = s.Watch(t.Context(), store.WatchRequest{Key: b, Revision: -1})
	require.ErrorIs(t, err, store.ErrInvalid)
}

func testWatchCompacted(t *testing.T, opener Opener) {
	s := Open(t, opener, store.Config{})
	for i := range 8 {
		put(t, s, "a", fmt.Sprint(i)) // 2 to 9
	}
	slow := watchFrom(t, s, store.WatchRequest{Key: []byte("a"), Revision: 3})
	idle := watchFrom(t, s, store.WatchRequest{Key: []byte("z"), Revision: 3})
	nothing, _ := seen(t, idle)
	require.Empty(t, nothing)
	require.NoError(t, s.Compact(t.Context(), 6))
	_, err := s.Watch(t.Context(), store.WatchRequest{Key: []byte("a"), Revision: 5})
	var failed *store.Error
	require.ErrorAs(t, err, &failed)
	require.ErrorIs(t, err, store.ErrCompacted)
	require.EqualValues(t, 6, failed.Revision)
	_, err = slow.TryNext()
	require.ErrorIs(t, err, store.ErrCompacted)
	require.ErrorAs(t, err, &failed)
	require.EqualValues(t, 6, failed.Revision)
	got, _ := seen(t, watchFrom(t, s, store.WatchRequest{Key: []byte("a"), Revision: 6}))
	require.Equal(t, "6+a=4 7+a=5 8+a=6 9+a=7", got)
	put(t, s, "z", "1")
	got, _ = seen(t, idle)
	require.Equal(t, "10+z=1", got)
}

func testWatchWaits(t *testing.T, opener Opener) {
	synctest.Test(t, func(t *testing.T) {
		s := Open(t, opener, store.Config{})
		w := watchFrom(t, s, store.WatchRequest{Key: []byte("a")})
		type answer struct {
			events   string
			revision int64
			err      error
		}
		answers := make(chan answer, 1)
		next := func(ctx context.Context) {
			batch, err := w.Next(ctx)
			answers <- answer{history(batch.Events), batch.Revision, err}
		}
		go next(t.Context())
		synctest.Wait()
		put(t, s, "b", "1")
		synctest.Wait()
		require.Empty(t, answers)
		w.Progress()
		require.Equal(t, answer{"", 2, nil}, <-answers)
		go next(t.Context())
		put(t, s, "a", "1")
		require.Equal(t, answer{"3+a=1", 3, nil}, <-answers)

		ctx, cancel := context.WithCancel(t.Context())
		go next(ctx)
		synctest.Wait()
		cancel()
		require.ErrorIs(t, (<-answers).err, context.Canceled)
		go next(t.Context())
		synctest.Wait()
		require.NoError(t, s.Close())
		require.ErrorIs(t, (<-answers).err, store.ErrClosed)
	})
}
