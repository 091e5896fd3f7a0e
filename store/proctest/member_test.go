//go:build unix

package proctest

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/etcdapi"
)

// memberConfig is what a member's process is told.
type memberConfig struct {
	Name, Dir     string
	Peers         []store.Peer
	Join          bool
	Listen        string // for members; empty is its address in Peers
	Source        string // the address to dial other members from; empty for any
	Client        string // for clients
	Cert, Key, CA string // files, read for each connection; empty is no TLS
	Snapshot      uint64
	Bolt          bool   // the log store in a bolt file
	Keys          string // file of keys; empty for no encryption
}

// A request goes to a member's standard input, a line of JSON each; its reply comes from its standard output.
type request struct {
	ID   int
	Op   string // status, revision, add, remove, update, transfer, write
	Peer store.Peer
	N    int
}

type reply struct {
	ID     int
	Err    string
	Status store.Status
	Done   int
}

// runMember is a member's main function. It ends with the process that started it.
func runMember(text string) error {
	var cfg memberConfig
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	logCfg := zap.NewDevelopmentConfig()
	logCfg.DisableStacktrace = true
	logCfg.Level.SetLevel(zap.InfoLevel)
	logger, err := logCfg.Build()
	if err != nil {
		return err
	}
	storeCfg := store.Config{
		Name: cfg.Name, Dir: cfg.Dir, Peers: cfg.Peers, Join: cfg.Join, SnapshotEntries: cfg.Snapshot, Logger: logger, Retention: -1,
	}
	if cfg.Cert != "" {
		if storeCfg.TLS, err = cfg.tls(); err != nil {
			return err
		}
	}
	if cfg.Bolt {
		storeCfg.OpenLog = store.OpenBoltLog
	}
	if cfg.Keys != "" {
		storeCfg.Keys = store.KeyFile(cfg.Keys)
	}
	if cfg.Source != "" {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(cfg.Source)}, Timeout: 5 * time.Second}
		storeCfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr) }
	}
	if cfg.Listen != "" {
		if storeCfg.Listener, err = net.Listen("tcp", cfg.Listen); err != nil {
			return err
		}
	}
	clients, err := net.Listen("tcp", cfg.Client)
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, storeCfg)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	api := etcdapi.New(s, etcdapi.Config{Name: cfg.Name})
	api.Register(server)
	go func() { _ = server.Serve(clients) }()
	go serveRequests(s)
	<-ctx.Done()
	_ = api.Close()
	late := time.AfterFunc(3*time.Second, server.Stop)
	server.GracefulStop()
	late.Stop()
	return s.Close()
}

func (cfg memberConfig) tls() (*tls.Config, error) {
	pem, err := os.ReadFile(cfg.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", cfg.CA)
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cfg.Cert, cfg.Key)
		return &pair, err
	}
	return &tls.Config{
		RootCAs: pool, ClientCAs: pool,
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return load() },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() },
	}, nil
}

// serveRequests ends the process when its input ends.
func serveRequests(s *store.Store) {
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	send := func(r reply) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(r)
	}
	send(reply{}) // it is open
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	for {
		var r request
		if err := in.Decode(&r); err != nil {
			if !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "member:", err)
			}
			os.Exit(3)
		}
		go func() {
			answer := reply{ID: r.ID}
			var err error
			answer.Status, answer.Done, err = serveRequest(s, r)
			if err != nil {
				answer.Err = err.Error()
			}
			send(answer)
		}()
	}
}

func serveRequest(s *store.Store, r request) (status store.Status, done int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	switch r.Op {
	case "revision":
		if _, err = s.Revision(ctx); err != nil {
			return status, 0, err
		}
		fallthrough
	case "status":
		status, err = s.Status(ctx)
	case "add":
		err = s.AddMember(ctx, r.Peer)
	case "remove":
		err = s.RemoveMember(ctx, r.Peer.Name)
	case "transfer":
		err = s.TransferLeadership(ctx, r.Peer.Name)
	case "write": // N keys, one after the other
		for ; done < r.N && err == nil; done++ {
			_, err = s.Put(ctx, store.PutRequest{Key: fmt.Appendf(nil, "written/%s/%d", r.Peer.Name, done)})
		}
	default:
		err = fmt.Errorf("unknown request %q", r.Op)
	}
	return status, done, err
}
