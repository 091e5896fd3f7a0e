package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/etcdapi"
)

// serve runs a member until ctx ends.
func serve(ctx context.Context, args []string, out io.Writer) (err error) {
	o, err := parseMember(args)
	if err != nil {
		return err
	}
	log, err := logger(o.verbose)
	if err != nil {
		return err
	}
	temporary := o.dataDir == ""
	if temporary {
		if o.dataDir, err = os.MkdirTemp("", "kvstore-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.dataDir)) }()
	}
	clients, err := listen(ctx, "--listen-client", o.listenClient)
	if err != nil {
		return err
	}
	defer clients.Close() // the server closes it too
	url := o.clientURL(clients.Addr())
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s, err := open(ctx, o, store.Config{ClientURLs: []string{url}, Metrics: metrics, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	clientTLS, err := o.clientTLS.serverConfig()
	if err != nil {
		return err
	}
	api := etcdapi.New(s, etcdapi.Config{
		Name: o.name, ClientURLs: []string{url}, PeerScheme: o.peerScheme(), Logger: log,
		Metrics: promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}),
	})
	serving, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- api.Serve(serving, clients, clientTLS) }()
	who := "one member"
	if o.name != "" {
		who = "member " + o.name
	}
	fmt.Fprintf(out, "%s, files in %s%s\n", who, o.dataDir, map[bool]string{true: " (temporary: --data-dir keeps them)"}[temporary])
	if leader, err := waitForLeader(ctx, s, o, out); err == nil {
		fmt.Fprintf(out, "serving at %s%s\n", url, leader)
		if temporary {
			fmt.Fprintf(out, "\n  etcdctl --endpoints=%[1]s put greeting hello\n  etcdctl --endpoints=%[1]s get greeting\n\nCtrl-C ends it\n", url)
		}
	}
	rotate := make(chan os.Signal, 1)
	if o.keys != "" {
		signal.Notify(rotate, syscall.SIGHUP)
		defer signal.Stop(rotate)
	}
	for {
		select {
		case err = <-ended:
			return err
		case <-ctx.Done():
			fmt.Fprintln(out, "stopping")
			return <-ended
		case <-rotate:
			if err := s.Reencrypt(ctx); err != nil {
				fmt.Fprintln(out, "the files are not all encrypted with the first key:", err)
			} else {
				fmt.Fprintln(out, "all files are encrypted with the first key")
			}
		}
	}
}

func (o *options) peerScheme() string {
	if o.peerTLS.cert == "" {
		return "http"
	}
	return "https"
}

// clientURL is what clients are told.
func (o *options) clientURL(addr net.Addr) string {
	if o.advertise != "" {
		return o.advertise
	}
	scheme := "http://"
	if o.clientTLS.cert != "" {
		scheme = "https://"
	}
	return scheme + addr.String()
}

// open opens the store that the options say, with what cfg has beside them.
func open(ctx context.Context, o options, cfg store.Config) (*store.Store, error) {
	cfg.Dir, cfg.QuotaBytes, cfg.Retention, cfg.SnapshotEntries = o.dataDir, o.quota, o.retention, o.snapshotEntries
	cfg.Name, cfg.Peers, cfg.Join = o.name, o.peers, o.join
	cfg.OpenLog = o.openLog()
	if o.keys != "" {
		cfg.Keys = store.KeyFile(o.keys)
	}
	var err error
	if cfg.TLS, err = o.peerTLS.config(); err != nil {
		return nil, err
	}
	if o.name != "" {
		if cfg.Listener, err = listen(ctx, "--listen-peer", o.listenPeer); err != nil {
			return nil, err
		}
	}
	s, err := store.Open(ctx, cfg)
	if err != nil && cfg.Listener != nil {
		_ = cfg.Listener.Close() // whoever fails early has not closed it
	}
	switch {
	case errors.Is(err, store.ErrLocked):
		return nil, fmt.Errorf("another process uses %s: stop it, or choose another --data-dir (%w)", o.dataDir, err)
	case errors.Is(err, store.ErrKey):
		return nil, wrongKeys(o, err)
	case errors.Is(err, store.ErrCorrupt):
		return nil, fmt.Errorf("the files in %s are damaged: replace this member, or restore a back-up (%w)", o.dataDir, err)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("--data-dir %s can't be written by this user (%w)", o.dataDir, err)
	}
	return s, err
}

// wrongKeys explains store.ErrKey. Nothing is damaged.
func wrongKeys(o options, err error) error {
	if o.keys == "" {
		return fmt.Errorf("the files in %s are encrypted: --keys must name the file with their keys (%w)", o.dataDir, err)
	}
	return fmt.Errorf("--keys %s does not have the keys that the files in %s need: add those that are missing, below the one to go on with (%w)", o.keys, o.dataDir, err)
}

func listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s %s: another program has this port; choose another (port 0 takes a free one for clients)", flag, addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s %s: this machine does not have the address", flag, addr)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%s %s: this user may not listen there", flag, addr)
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", flag, addr, err)
	}
	return l, nil
}

// waitForLeader returns when the member serves all that was acknowledged before, and says from time to time what it
// waits for.
func waitForLeader(ctx context.Context, s *store.Store, o options, out io.Writer) (leader string, err error) {
	const often = 3 * time.Second
	for waited := time.Duration(0); ; waited += often {
		attempt, cancel := context.WithTimeout(ctx, often)
		_, err := s.Revision(attempt)
		cancel()
		st, statusErr := s.Status(ctx)
		switch {
		case err == nil && o.name == "":
			return "", nil
		case err == nil:
			return fmt.Sprintf("; the members are %s, and %s leads", memberNames(st.Members), st.LeaderName), statusErr
		case ctx.Err() != nil || attempt.Err() == nil:
			return "", err
		}
		needed, names := len(o.peers)/2+1, o.peers.names()
		if len(st.Members) > 0 { // --peers may have members that were removed since
			needed, names = len(st.Members)/2+1, memberNames(st.Members)
		}
		switch {
		case o.join && len(st.Members) == 0:
			fmt.Fprintf(out, "waiting to be added: kvstore member add %s %s (%v)\n", o.name, o.listenPeer, waited+often)
		case st.LeaderName != "":
			fmt.Fprintf(out, "waiting for %s, which leads (%v)\n", st.LeaderName, waited+often)
		default:
			fmt.Fprintf(out, "waiting for a majority, %d of the members %s (%v)\n", needed, names, waited+often)
		}
	}
}

func memberNames(members []store.MemberStatus) string {
	var names []string
	for _, m := range members {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}

// logger writes warnings and errors to standard error, with -v all.
func logger(verbose bool) (*zap.Logger, error) {
	cfg := zap.NewDevelopmentConfig()
	cfg.DisableCaller, cfg.DisableStacktrace = true, true
	cfg.Level = zap.NewAtomicLevelAt(zapcore.WarnLevel)
	if verbose {
		cfg.Level = zap.NewAtomicLevelAt(zapcore.DebugLevel)
	}
	return cfg.Build()
}
