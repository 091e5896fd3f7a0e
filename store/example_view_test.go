package store_test

import (
	"context"
	"fmt"

	"github.com/keelson-dev/keelson/store"
)

// A view holds still: what is read from it, one key after the other, holds at the same moment.
func ExampleView() {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	s.Put(ctx, store.PutRequest{Key: []byte("/a"), Value: []byte("1")})
	v, err := s.View(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	s.Put(ctx, store.PutRequest{Key: []byte("/a"), Value: []byte("2")})
	old, _ := v.Get([]byte("/a"))
	fmt.Println(v.Revision(), string(old.Value))

	newest, err := s.SerializableView() // asks nobody
	kv, found := newest.Get([]byte("/a"))
	fmt.Println(string(kv.Value), found, err)
	// Output:
	// 2 1
	// 2 true <nil>
}
