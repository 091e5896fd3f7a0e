package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/keelson-dev/keelson/store"
)

// A file of a store that is closed loses its end. Verify finds that, and changes nothing.
func ExampleReport() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := store.Open(ctx, store.Config{Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	s.Put(ctx, store.PutRequest{Key: []byte("a"), Value: []byte("1")})
	s.Close()
	if err := os.Truncate(filepath.Join(dir, "wal", "0000000000000001.wal"), 5000); err != nil {
		fmt.Println(err)
		return
	}

	report, err := store.Verify(ctx, dir, store.FileOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("damage:", len(report.Damage))
	fmt.Println(errors.Is(report.Err(), store.ErrCorrupt), report.Contents == nil)
	// Output:
	// damage: 1
	// true true
}
