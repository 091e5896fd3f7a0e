package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/keelson-dev/keelson/bench/internal/measure"
)

// target is a store that operations are run on: over gRPC or in the same process. caller numbers who calls, from 0.
type target interface {
	put(ctx context.Context, caller int, key, value []byte) error
	get(ctx context.Context, caller int, key []byte, serializable bool) error
	// list reads the first keys of a range and returns how many there were.
	list(ctx context.Context, caller int, from, end []byte, limit int) (int, error)
	// txn puts the key if it exists and reads it otherwise.
	txn(ctx context.Context, caller int, key, value []byte) error
	// fill puts several keys in one transaction.
	fill(ctx context.Context, caller int, keys [][]byte, value []byte) error
	// watch opens a watcher of all keys of a range, from now on.
	watch(ctx context.Context, caller int, from, end []byte) (watcher, error)
}

// watcher delivers events.
type watcher interface {
	// next waits for events and calls visit with the value of each.
	next(ctx context.Context, visit func(value []byte)) error
}

const (
	valueSize = 256
	// listed is how many keys the operations range and page ask for. A range has so many keys, a page is the first of
	// a range with all that are left.
	listed = 1000
	// fillOps is how many keys one transaction puts while a store is filled: etcd takes up to 128.
	fillOps = 100
)

// The keys that a run puts, gets and lists. The busy ones are those that watchers see.
const (
	keyPrefix  = "/registry/pods/namespace/"
	busyPrefix = "/busy/"
)

// makeKeys returns n keys in order.
func makeKeys(prefix string, n int) [][]byte {
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "%s%08d", prefix, i)
	}
	return keys
}

// prefixEnd returns the end of the range of the keys with a prefix whose last byte is not 0xff.
func prefixEnd(prefix string) []byte {
	end := []byte(prefix)
	end[len(end)-1]++
	return end
}

var errShort = errors.New("bench: a range has fewer keys than were asked for")

// newOperation returns the operation of a name on keys that are there already.
func newOperation(name string, t target, keys [][]byte) (measure.Operation, error) {
	value := make([]byte, valueSize)
	key := func(r *rand.Rand) []byte { return keys[r.IntN(len(keys))] }
	switch name {
	case "put":
		return func(ctx context.Context, caller int, r *rand.Rand) error { return t.put(ctx, caller, key(r), value) }, nil
	case "get", "serializable get":
		serializable := strings.HasPrefix(name, "serializable")
		return func(ctx context.Context, caller int, r *rand.Rand) error {
			return t.get(ctx, caller, key(r), serializable)
		}, nil
	case "range", "page":
		n := min(listed, len(keys))
		return func(ctx context.Context, caller int, r *rand.Rand) error {
			at := r.IntN(len(keys) - n + 1)
			end := prefixEnd(keyPrefix)
			if name == "range" {
				end = append(bytes.Clone(keys[at+n-1]), 0)
			}
			got, err := t.list(ctx, caller, keys[at], end, n)
			if err == nil && got != n {
				err = fmt.Errorf("%w: %d of %d", errShort, got, n)
			}
			return err
		}, nil
	case "txn":
		return func(ctx context.Context, caller int, r *rand.Rand) error { return t.txn(ctx, caller, key(r), value) }, nil
	}
	return nil, fmt.Errorf("bench: no operation %q", name)
}

// fillAll puts all keys, with several callers.
func fillAll(ctx context.Context, t target, keys [][]byte) error {
	const callers = 8
	failed := make(chan error, callers)
	for caller := range callers {
		go func() {
			for at := caller * fillOps; at < len(keys); at += callers * fillOps {
				if err := t.fill(ctx, caller, keys[at:min(at+fillOps, len(keys))], make([]byte, valueSize)); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	var err error
	for range callers {
		err = errors.Join(err, <-failed)
	}
	return err
}

// stamp makes a value that tells when it was put, as time since start.
func stamp(start time.Time) []byte {
	value := make([]byte, valueSize)
	binary.BigEndian.PutUint64(value, uint64(time.Since(start)))
	return value
}

// age returns how long ago a value was put.
func age(start time.Time, value []byte) time.Duration {
	return time.Since(start) - time.Duration(binary.BigEndian.Uint64(value))
}
