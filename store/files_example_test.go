package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/keelson-dev/keelson/store"
)

// Keys come from wherever the program has them; here they are made up.
func ExampleStaticKeys() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	first := store.Key{ID: "first", Secret: bytes.Repeat([]byte{1}, store.KeySize)}
	second := store.Key{ID: "second", Secret: bytes.Repeat([]byte{2}, store.KeySize)}

	s, err := store.Open(ctx, store.Config{Dir: dir, Keys: store.StaticKeys{first}})
	if err != nil {
		fmt.Println(err)
		return
	}
	s.Put(ctx, store.PutRequest{Key: []byte("a"), Value: []byte("1")})
	s.Close()

	// The new key stands before the old one until everything has been encrypted again.
	s, _ = store.Open(ctx, store.Config{Dir: dir, Keys: store.StaticKeys{second, first}})
	fmt.Println("reencrypted:", s.Reencrypt(ctx))
	s.Close()

	_, err = store.Open(ctx, store.Config{Dir: dir, Keys: store.StaticKeys{first}})
	var missing *store.KeyError
	fmt.Println(errors.As(err, &missing), missing.ID)
	// Output:
	// reencrypted: <nil>
	// true second
}

func ExampleVerify() {
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

	report, err := store.Verify(ctx, dir, store.FileOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("damage:", len(report.Damage))
	fmt.Println("revision:", report.Contents.Revision, "keys:", report.Contents.Keys)
	// Output:
	// damage: 0
	// revision: 2 keys: 1
}
