package main

import (
	"context"
	"errors"
	"net"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/etcdapi"
	"github.com/keelson-dev/keelson/store/etcdapi/transport"
)

// boltLog is the name of the log store in a bolt file.
const boltLog = "bolt"

// keelson is a member of a Keelson store.
type keelson struct {
	keelsonTarget
	api      *etcdapi.Server
	server   *transport.Server
	listener net.Listener
}

func openKeelson(ctx context.Context, o Order) (server, error) {
	cfg := store.Config{Dir: o.Dir}
	if o.Log == boltLog {
		cfg.OpenLog = store.OpenBoltLog
	}
	if len(o.Peers) > 1 {
		cfg.Name = o.Name
		for _, p := range o.Peers {
			cfg.Peers = append(cfg.Peers, store.Peer{Name: p.Name, Addr: p.Addr})
		}
	}
	s, err := store.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	k := &keelson{keelsonTarget: keelsonTarget{s}, api: etcdapi.New(s, etcdapi.Config{Name: o.Name})}
	if k.server, err = k.api.Transport(transport.Config{}); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if k.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	go func() { _ = k.server.Serve(k.listener) }() // ends with Close
	return k, nil
}

func (k *keelson) addrs() []string { return []string{k.listener.Addr().String()} }

func (k *keelson) local() target { return k.keelsonTarget }

func (k *keelson) Close() error {
	err := k.api.Close()
	return errors.Join(err, k.server.Close(), k.store.Close())
}

// keelsonTarget calls the store's methods.
type keelsonTarget struct{ store *store.Store }

func (k keelsonTarget) put(ctx context.Context, _ int, key, value []byte) error {
	_, err := k.store.Put(ctx, store.PutRequest{Key: key, Value: value})
	return err
}

func (k keelsonTarget) get(ctx context.Context, _ int, key []byte, serializable bool) error {
	if !serializable {
		_, found, err := k.store.Get(ctx, key)
		if err == nil && !found {
			err = errShort
		}
		return err
	}
	v, err := k.store.SerializableView()
	if err != nil {
		return err
	}
	if _, found := v.Get(key); !found {
		return errShort
	}
	return nil
}

func (k keelsonTarget) list(ctx context.Context, _ int, from, end []byte, limit int) (int, error) {
	res, err := k.store.Range(ctx, store.RangeRequest{Key: from, End: end, Limit: int64(limit)})
	return len(res.KVs), err
}

func (k keelsonTarget) txn(ctx context.Context, _ int, key, value []byte) error {
	res, err := k.store.Txn(ctx, store.Txn{
		Compares: []store.Compare{{Key: key, Target: store.CompareMod, Op: store.Greater}},
		Then:     []store.Op{{Put: &store.PutRequest{Key: key, Value: value}}},
		Else:     []store.Op{{Range: &store.RangeRequest{Key: key}}},
	})
	if err == nil && !res.Succeeded {
		err = errShort
	}
	return err
}

func (k keelsonTarget) fill(ctx context.Context, _ int, keys [][]byte, value []byte) error {
	ops := make([]store.Op, len(keys))
	for i, key := range keys {
		ops[i] = store.Op{Put: &store.PutRequest{Key: key, Value: value}}
	}
	_, err := k.store.Txn(ctx, store.Txn{Then: ops})
	return err
}

func (k keelsonTarget) watch(ctx context.Context, _ int, from, end []byte) (watcher, error) {
	w, err := k.store.Watch(ctx, store.WatchRequest{Key: from, End: end})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = w.Close() })
	return keelsonWatcher{w}, nil
}

type keelsonWatcher struct{ *store.Watcher }

func (w keelsonWatcher) next(ctx context.Context, visit func([]byte)) error {
	batch, err := w.Next(ctx)
	for _, e := range batch.Events {
		visit(e.KV.Value)
	}
	return err
}
