package store_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/keelson-dev/keelson/store"
)

// A range is read, and watched from the revision after: so nothing is missed and nothing comes twice. Where the history
// is gone, one begins again with reading.
func ExampleWatcher() {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	key, end := []byte("/a/"), store.PrefixEnd([]byte("/a/"))
	s.Put(ctx, store.PutRequest{Key: []byte("/a/1"), Value: []byte("before")})
	list, _ := s.Range(ctx, store.RangeRequest{Key: key, End: end})
	fmt.Println(list.Count, "at", list.Revision)
	s.Put(ctx, store.PutRequest{Key: []byte("/a/1"), Value: []byte("after")})
	s.Put(ctx, store.PutRequest{Key: []byte("/b/1"), Value: []byte("elsewhere")})

	w, err := s.Watch(ctx, store.WatchRequest{Key: key, End: end, Revision: list.Revision + 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Close()
	batch, err := w.Next(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range batch.Events {
		fmt.Println(e.Type, string(e.KV.Key), string(e.KV.Value), "at", e.KV.ModRevision)
	}

	_ = s.Compact(ctx, 4)
	_, err = s.Watch(ctx, store.WatchRequest{Key: key, End: end, Revision: 2})
	fmt.Println(errors.Is(err, store.ErrCompacted))
	// Output:
	// 1 at 2
	// PUT /a/1 after at 3
	// true
}
