package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// together is all members of a cluster in one process.
type together struct{ members []server }

// openTogether opens the members at the same time: they find each other.
func openTogether(ctx context.Context, o Order) (server, error) {
	t := &together{members: make([]server, len(o.Peers))}
	errs := make([]error, len(o.Peers))
	var all sync.WaitGroup
	for i, p := range o.Peers {
		all.Go(func() {
			mine := o
			mine.Name, mine.Dir, mine.Together = p.Name, filepath.Join(o.Dir, p.Name), false
			if errs[i] = os.MkdirAll(mine.Dir, 0o700); errs[i] == nil {
				t.members[i], errs[i] = openServer(ctx, mine)
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func openServer(ctx context.Context, o Order) (server, error) {
	switch {
	case o.Together:
		return openTogether(ctx, o)
	case o.Kind == "etcd":
		return openEtcd(ctx, o)
	case o.Kind == "keelson":
		return openKeelson(ctx, o)
	case o.Kind == "floor":
		return openFloor(ctx, o)
	}
	return nil, fmt.Errorf("bench: no server %q", o.Kind)
}

func (t *together) addrs() []string {
	var all []string
	for _, m := range t.members {
		all = append(all, m.addrs()...)
	}
	return all
}

func (t *together) local() target { return spreadTarget{t.members} }

// Close closes the members one after the other.
func (t *together) Close() error {
	var err error
	for _, m := range t.members {
		if m != nil {
			err = errors.Join(err, m.Close())
		}
	}
	return err
}

// spreadTarget has each caller at a member of its own, as far as they go.
type spreadTarget struct{ members []server }

func (s spreadTarget) of(caller int) target { return s.members[caller%len(s.members)].local() }

func (s spreadTarget) put(ctx context.Context, caller int, key, value []byte) error {
	return s.of(caller).put(ctx, caller, key, value)
}

func (s spreadTarget) get(ctx context.Context, caller int, key []byte, serializable bool) error {
	return s.of(caller).get(ctx, caller, key, serializable)
}

func (s spreadTarget) list(ctx context.Context, caller int, from, end []byte, limit int) (int, error) {
	return s.of(caller).list(ctx, caller, from, end, limit)
}

func (s spreadTarget) txn(ctx context.Context, caller int, key, value []byte) error {
	return s.of(caller).txn(ctx, caller, key, value)
}

func (s spreadTarget) fill(ctx context.Context, caller int, keys [][]byte, value []byte) error {
	return s.of(caller).fill(ctx, caller, keys, value)
}

func (s spreadTarget) watch(ctx context.Context, caller int, from, end []byte) (watcher, error) {
	return s.of(caller).watch(ctx, caller, from, end)
}
