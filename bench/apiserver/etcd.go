package main

import (
	"context"
	"net/url"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// etcd is where kube-apiserver stores.
type etcd struct{ member *embed.Etcd }

func openEtcd(ctx context.Context, o Order) (server, error) {
	cfg := embed.NewConfig()
	cfg.Dir = o.Dir
	cfg.QuotaBackendBytes = 8 << 30 // with the default of 2 GiB a long run ends in no space
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	peer, client := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}, []url.URL{{Scheme: "http", Host: o.Addr}}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = peer, peer
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = client, client
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
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
	return &etcd{member}, nil
}

func (e *etcd) Close() error {
	e.member.Close()
	return nil
}
