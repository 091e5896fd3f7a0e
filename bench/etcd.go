package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.uber.org/zap"
)

// etcd is a member of etcd.
type etcd struct {
	etcdTarget
	member *embed.Etcd
}

func openEtcd(ctx context.Context, o Order) (server, error) {
	cfg := embed.NewConfig()
	cfg.Dir, cfg.Name = o.Dir, o.Name
	cfg.QuotaBackendBytes = 8 << 30 // with the default of 2 GiB a long run ends in no space
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	peers, here := []string{}, ""
	for _, p := range o.Peers {
		peers = append(peers, p.Name+"=http://"+p.Addr)
		if p.Name == o.Name {
			here = p.Addr
		}
	}
	cfg.InitialCluster = strings.Join(peers, ",")
	peer, client := []url.URL{{Scheme: "http", Host: here}}, []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = peer, peer
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = client, client
	member, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	select {
	case <-member.Server.ReadyNotify():
	case err = <-member.Err():
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		member.Close()
		return nil, err
	}
	return &etcd{etcdTarget: etcdTarget{member.Server}, member: member}, nil
}

func (e *etcd) addrs() []string { return []string{e.member.Clients[0].Addr().String()} }

func (e *etcd) local() target { return e.etcdTarget }

func (e *etcd) Close() error {
	e.member.Close()
	return nil
}

// etcdTarget calls the methods of etcd's server, which are what its gRPC services call.
type etcdTarget struct{ server *etcdserver.EtcdServer }

func (e etcdTarget) put(ctx context.Context, _ int, key, value []byte) error {
	_, err := e.server.Put(ctx, &pb.PutRequest{Key: key, Value: value})
	return err
}

func (e etcdTarget) get(ctx context.Context, _ int, key []byte, serializable bool) error {
	res, err := e.server.Range(ctx, &pb.RangeRequest{Key: key, Serializable: serializable})
	if err == nil && len(res.Kvs) != 1 {
		err = errShort
	}
	return err
}

func (e etcdTarget) list(ctx context.Context, _ int, from, end []byte, limit int) (int, error) {
	res, err := e.server.Range(ctx, &pb.RangeRequest{Key: from, RangeEnd: end, Limit: int64(limit)})
	if err != nil {
		return 0, err
	}
	return len(res.Kvs), nil
}

func (e etcdTarget) txn(ctx context.Context, _ int, key, value []byte) error {
	res, err := e.server.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Key: key, Target: pb.Compare_MOD, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_ModRevision{ModRevision: 0},
		}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: value}}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}},
	})
	if err == nil && !res.Succeeded {
		err = errShort
	}
	return err
}

func (e etcdTarget) fill(ctx context.Context, _ int, keys [][]byte, value []byte) error {
	ops := make([]*pb.RequestOp, len(keys))
	for i, key := range keys {
		ops[i] = &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: value}}}
	}
	_, err := e.server.Txn(ctx, &pb.TxnRequest{Success: ops})
	return err
}

func (e etcdTarget) watch(ctx context.Context, _ int, from, end []byte) (watcher, error) {
	stream := e.server.Watchable().NewWatchStream()
	context.AfterFunc(ctx, stream.Close)
	if _, err := stream.Watch(ctx, 0, from, end, 0); err != nil {
		return nil, fmt.Errorf("bench: etcd's watch: %w", err)
	}
	return etcdWatcher{stream.Chan()}, nil
}

type etcdWatcher struct{ ch <-chan mvcc.WatchResponse }

func (w etcdWatcher) next(ctx context.Context, visit func([]byte)) error {
	select {
	case res, open := <-w.ch:
		if !open {
			return io.ErrUnexpectedEOF
		}
		for _, e := range res.Events {
			visit(e.Kv.Value)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
