package store_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/keelson-dev/keelson/store"
)

// asked is a keyring that asks another program for its keys, and says so.
type asked struct{ keys map[string]store.Key }

func (a asked) Current(ctx context.Context) (store.Key, error) { return a.Key(ctx, "2026") }

func (a asked) Key(_ context.Context, id string) (store.Key, error) {
	key, ok := a.keys[id]
	if !ok {
		return store.Key{}, fmt.Errorf("%w: nobody knows %q", store.ErrKey, id)
	}
	return key, nil
}

// A program whose keys are elsewhere implements Keyring. Without the keys the data can't be read.
func ExampleKeyring() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	keys := asked{map[string]store.Key{"2026": {ID: "2026", Secret: bytes.Repeat([]byte{1}, store.KeySize)}}}
	s, err := store.Open(ctx, store.Config{Dir: dir, Keys: keys})
	if err != nil {
		fmt.Println(err)
		return
	}
	s.Put(ctx, store.PutRequest{Key: []byte("a"), Value: []byte("secret")})
	s.Close()

	_, err = store.Open(ctx, store.Config{Dir: dir, Keys: asked{}})
	fmt.Println(errors.Is(err, store.ErrKey))
	s, err = store.Open(ctx, store.Config{Dir: dir, Keys: keys})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	kv, _, err := s.Get(ctx, []byte("a"))
	fmt.Println(string(kv.Value), err)
	// Output:
	// true
	// secret <nil>
}

// A file of keys has the current one first.
func ExampleKeyFile() {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	secret := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, store.KeySize))
	path := filepath.Join(dir, "keys")
	if err := os.WriteFile(path, []byte("# newest first\n2026-11 "+secret+"\n2025-11 "+secret+"\n"), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	keys := store.KeyFile(path)
	current, err := keys.Current(context.Background())
	fmt.Println(current, err)
	_, err = keys.Key(context.Background(), "2024-11")
	fmt.Println(errors.Is(err, store.ErrKey))
	// Output:
	// key 2026-11 <nil>
	// true
}
