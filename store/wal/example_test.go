package wal_test

import (
	"context"
	"fmt"
	"os"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/wal"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Dir: dir, OpenLog: wal.Open})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	put, err := s.Put(ctx, store.PutRequest{Key: []byte("a"), Value: []byte("1")})
	fmt.Println(put.Revision, err)
	// Output: 2 <nil>
}
