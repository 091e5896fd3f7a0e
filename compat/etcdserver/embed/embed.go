// Package embed stands for etcd's own package of this name where other people's tests start an etcd: it starts members
// of a store. It has what the tests of kube-apiserver's storage use. The module compat puts it into its place by a
// replace directive, so that those tests run as they are.
//
// KEELSON_MEMBERS is how many members stand for one etcd; unset it is one.
package embed

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.uber.org/zap"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/etcdapi"
)

// Config is what the tests set. What has no meaning for a store is not looked at.
type Config struct {
	Name, Dir, InitialCluster                                                string
	UnsafeNoFsync                                                            bool
	QuotaBackendBytes                                                        int64
	ListenPeerUrls, AdvertisePeerUrls, ListenClientUrls, AdvertiseClientUrls []url.URL
	ClientTLSInfo                                                            transport.TLSInfo
	WatchProgressNotifyInterval                                              time.Duration
	ZapLoggerBuilder                                                         func(*Config) error
	log                                                                      *zap.Logger
}

// NewConfig returns a Config that works.
func NewConfig() *Config { return &Config{Name: "default"} }

// NewZapLoggerBuilder has the members log there.
func NewZapLoggerBuilder(log *zap.Logger) func(*Config) error {
	return func(cfg *Config) error {
		cfg.log = log
		return nil
	}
}

// InitialClusterFromName returns nothing: the members find each other by themselves.
func (*Config) InitialClusterFromName(string) string { return "" }

// Etcd is the members that stand for one etcd.
type Etcd struct {
	Server *Server
	cancel context.CancelFunc
	failed chan error
	stores []*store.Store
	ended  []chan error
}

// Server tells of the members.
type Server struct {
	etcd  *Etcd
	urls  []string
	ready chan struct{}
}

// StartEtcd starts members. They are ready when it returns. They listen on ports that the system chooses, which
// ClientURLs tells, and not on those of Config.ListenClientUrls: who wants those found them free a while ago, and in the
// meantime a connection of another test may have got them.
func StartEtcd(cfg *Config) (*Etcd, error) {
	if cfg.ZapLoggerBuilder != nil {
		if err := cfg.ZapLoggerBuilder(cfg); err != nil {
			return nil, err
		}
	}
	n, err := strconv.Atoi(os.Getenv("KEELSON_MEMBERS"))
	if err != nil {
		n = 1
	}
	e := &Etcd{failed: make(chan error)}
	e.Server = &Server{etcd: e, ready: make(chan struct{})}
	close(e.Server.ready)
	scheme := "http"
	var tlsConfig *tls.Config
	if !cfg.ClientTLSInfo.Empty() {
		scheme = "https"
		if tlsConfig, err = cfg.ClientTLSInfo.ServerConfig(); err != nil {
			return nil, err
		}
	}
	peers, listeners := make([]store.Peer, n), make([]net.Listener, n)
	for i := range n {
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
		peers[i] = store.Peer{Name: strconv.Itoa(i), Addr: listeners[i].Addr().String()}
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	for i := range n {
		clients, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			cancel()
			return nil, err
		}
		address := "localhost:" + strconv.Itoa(clients.Addr().(*net.TCPAddr).Port)
		e.Server.urls = append(e.Server.urls, scheme+"://"+address)
		sc := store.Config{Logger: cfg.log, Retention: -1, QuotaBytes: cfg.QuotaBackendBytes, ClientURLs: e.Server.urls[i:]}
		if n > 1 {
			sc.Name, sc.Peers, sc.Listener, sc.MemoryDisk = peers[i].Name, peers, listeners[i], &store.MemoryDisk{}
		} else if err := listeners[i].Close(); err != nil {
			cancel()
			return nil, err
		}
		s, err := store.Open(ctx, sc)
		if err != nil {
			cancel()
			return nil, err
		}
		api := etcdapi.New(s, etcdapi.Config{ProgressInterval: cfg.WatchProgressNotifyInterval, Logger: cfg.log})
		ended := make(chan error, 1)
		go func() { ended <- errors.Join(api.Serve(ctx, clients, tlsConfig), s.Close()) }()
		e.ended, e.stores = append(e.ended, ended), append(e.stores, s)
	}
	for _, s := range e.stores { // until there is a leader, and all know
		if _, err := s.Revision(ctx); err != nil {
			e.Close()
			return nil, err
		}
	}
	return e, nil
}

// Close ends the members and waits for them.
func (e *Etcd) Close() {
	e.cancel()
	for _, ended := range e.ended {
		<-ended
	}
	e.ended = nil
	select {
	case <-e.failed:
	default:
		close(e.failed)
	}
}

// Err tells of a member that failed: none does.
func (e *Etcd) Err() <-chan error { return e.failed }

// ReadyNotify tells when the members serve.
func (s *Server) ReadyNotify() <-chan struct{} { return s.ready }

// Stop ends the members.
func (s *Server) Stop() { s.etcd.Close() }

// Cluster returns itself: it tells of the cluster too.
func (s *Server) Cluster() *Server { return s }

// ClientURLs returns where the members serve clients.
func (s *Server) ClientURLs() []string { return s.urls }
