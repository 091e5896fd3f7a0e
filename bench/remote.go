package main

import (
	"context"
	"errors"
	"io"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// remote is a target over gRPC, through etcd's client. Callers share its clients evenly; each has one connection to
// every member.
type remote struct{ clients []*clientv3.Client }

func dialRemote(endpoints []string, connections int) (*remote, error) {
	r := &remote{}
	for range connections {
		c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop(), DialTimeout: 20 * time.Second})
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		r.clients = append(r.clients, c)
	}
	return r, nil
}

func (r *remote) close() error {
	var err error
	for _, c := range r.clients {
		err = errors.Join(err, c.Close())
	}
	return err
}

func (r *remote) client(caller int) *clientv3.Client { return r.clients[caller%len(r.clients)] }

func (r *remote) put(ctx context.Context, caller int, key, value []byte) error {
	_, err := r.client(caller).Put(ctx, string(key), string(value))
	return err
}

func (r *remote) get(ctx context.Context, caller int, key []byte, serializable bool) error {
	var options []clientv3.OpOption
	if serializable {
		options = append(options, clientv3.WithSerializable())
	}
	res, err := r.client(caller).Get(ctx, string(key), options...)
	if err == nil && len(res.Kvs) != 1 {
		err = errShort
	}
	return err
}

func (r *remote) list(ctx context.Context, caller int, from, end []byte, limit int) (int, error) {
	res, err := r.client(caller).Get(ctx, string(from), clientv3.WithRange(string(end)), clientv3.WithLimit(int64(limit)))
	if err != nil {
		return 0, err
	}
	return len(res.Kvs), nil
}

func (r *remote) txn(ctx context.Context, caller int, key, value []byte) error {
	k := string(key)
	res, err := r.client(caller).Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(k), ">", 0)).
		Then(clientv3.OpPut(k, string(value))).Else(clientv3.OpGet(k)).Commit()
	if err == nil && !res.Succeeded {
		err = errShort
	}
	return err
}

func (r *remote) fill(ctx context.Context, caller int, keys [][]byte, value []byte) error {
	ops := make([]clientv3.Op, len(keys))
	for i, key := range keys {
		ops[i] = clientv3.OpPut(string(key), string(value))
	}
	_, err := r.client(caller).Txn(ctx).Then(ops...).Commit()
	return err
}

func (r *remote) watch(ctx context.Context, caller int, from, end []byte) (watcher, error) {
	ch := r.client(caller).Watch(ctx, string(from), clientv3.WithRange(string(end)), clientv3.WithCreatedNotify())
	created, open := <-ch
	if !open {
		return nil, io.ErrUnexpectedEOF
	}
	return remoteWatcher(ch), created.Err()
}

type remoteWatcher clientv3.WatchChan

func (w remoteWatcher) next(ctx context.Context, visit func([]byte)) error {
	select {
	case res, open := <-w:
		if !open {
			return io.ErrUnexpectedEOF
		}
		for _, e := range res.Events {
			visit(e.Kv.Value)
		}
		return res.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
