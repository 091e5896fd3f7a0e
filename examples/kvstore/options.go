package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/keelson-dev/keelson/store"
)

// options is how a member was asked to run.
type options struct {
	name, dataDir           string
	listenPeer              string
	listenClient, advertise string
	peers                   peerList
	join                    bool
	peerTLS, clientTLS      certFiles
	quota                   int64
	retention               time.Duration
	snapshotEntries         uint64
	logStore, keys          string
	verbose                 bool
}

// certFiles are the paths of a certificate, its key and an authority, in PEM.
type certFiles struct{ cert, key, ca string }

// peerList is a flag of the form a=host:port,b=host:port.
type peerList []store.Peer

func (p *peerList) String() string {
	var all []string
	for _, m := range *p {
		all = append(all, m.Name+"="+m.Addr)
	}
	return strings.Join(all, ",")
}

func (p *peerList) Set(text string) error {
	*p = nil
	for _, part := range strings.Split(text, ",") {
		name, addr, found := strings.Cut(strings.TrimSpace(part), "=")
		if !found || name == "" {
			return fmt.Errorf("%q: want NAME=HOST:PORT", part)
		}
		if err := checkAddr(addr); err != nil {
			return err
		}
		*p = append(*p, store.Peer{Name: name, Addr: addr})
	}
	return nil
}

func (p peerList) names() string {
	var all []string
	for _, m := range p {
		all = append(all, m.Name)
	}
	return strings.Join(all, ", ")
}

func (p peerList) find(name string) (store.Peer, bool) {
	i := slices.IndexFunc(p, func(m store.Peer) bool { return m.Name == name })
	if i < 0 {
		return store.Peer{}, false
	}
	return p[i], true
}

func checkAddr(addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return fmt.Errorf("%q: want HOST:PORT: %w", addr, err)
	}
	return nil
}

func (o *options) memberFlags(f *flag.FlagSet) {
	f.StringVar(&o.name, "name", "", "this member's name in --peers; without it the store has one member and no peers")
	f.StringVar(&o.dataDir, "data-dir", "", "directory of this member's files; without it a temporary one that is removed at the end")
	f.StringVar(&o.logStore, "log-store", "", "what keeps the log of a new directory: wal, or bolt, which takes two disk syncs for a write instead of one; default is wal, and otherwise what the directory has")
	f.StringVar(&o.keys, "keys", "", "file of keys to encrypt log and snapshots with, a line of NAME BASE64 each, the one to use first; see package store's KeyFile")
	f.Var(&o.peers, "peers", "all members as NAME=HOST:PORT,...: where they reach each other. Once the directory has data it says who is a member")
}

func parseMember(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("kvstore", flag.ContinueOnError)
	o.memberFlags(f)
	f.StringVar(&o.listenPeer, "listen-peer", "", "HOST:PORT to accept other members at; default is this member's address in --peers")
	f.StringVar(&o.listenClient, "listen-client", "127.0.0.1:2379", "HOST:PORT to serve clients at; port 0 for a free one")
	f.StringVar(&o.advertise, "advertise-client", "", "URL that clients are told to use; default is the address of --listen-client")
	f.BoolVar(&o.join, "join", false, "with an empty directory: wait to be added to the running cluster that the others in --peers are")
	f.StringVar(&o.peerTLS.cert, "cert", "", "this member's certificate for other members, valid for its name; files are read again when they change")
	f.StringVar(&o.peerTLS.key, "key", "", "its key")
	f.StringVar(&o.peerTLS.ca, "ca", "", "certificates of the authorities of all members")
	f.StringVar(&o.clientTLS.cert, "client-cert", "", "certificate to serve clients with")
	f.StringVar(&o.clientTLS.key, "client-key", "", "its key")
	f.StringVar(&o.clientTLS.ca, "client-ca", "", "demand certificates of this authority from clients")
	f.Int64Var(&o.quota, "quota-bytes", 0, "refuse puts while the store holds more; 0 for no bound")
	f.DurationVar(&o.retention, "retention", 0, "how long history is kept; 0 for ten minutes, negative for until somebody compacts it")
	f.Uint64Var(&o.snapshotEntries, "snapshot-entries", 0, "Raft entries between snapshots; 0 for 8192")
	f.BoolVar(&o.verbose, "v", false, "log the ordinary course of things too")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, usageError{err}
	}
	if f.NArg() > 0 {
		return o, usage("unknown argument %q", f.Arg(0))
	}
	return o, o.check()
}

func (o *options) check() error {
	if err := checkAddr(o.listenClient); err != nil {
		return usage("--listen-client %w", err)
	}
	if err := o.checkFiles(); err != nil {
		return err
	}
	if o.name == "" {
		if len(o.peers) > 0 || o.join || o.listenPeer != "" || o.peerTLS != (certFiles{}) {
			return usage("--name is missing: which of the members in --peers is this one?")
		}
	} else {
		if err := o.checkMember(); err != nil {
			return err
		}
	}
	for _, t := range []struct {
		files  certFiles
		prefix string
		withCA bool
	}{{o.peerTLS, "", true}, {o.clientTLS, "client-", false}} {
		if (t.files.cert == "") != (t.files.key == "") || (t.files.cert == "" && t.files.ca != "") || (t.withCA && t.files.cert != "" && t.files.ca == "") {
			return usage("--%[1]scert, --%[1]skey and --%[1]sca belong together", t.prefix)
		}
		for _, file := range []string{t.files.cert, t.files.key, t.files.ca} {
			if _, err := os.Stat(file); file != "" && err != nil {
				return usage("%w (kvstore certs NAME... makes certificates)", err)
			}
		}
	}
	return nil
}

func (o *options) checkFiles() error {
	if o.logStore != "" && o.logStore != "bolt" && o.logStore != "wal" {
		return usage("--log-store %q: want bolt or wal", o.logStore)
	}
	if o.keys != "" {
		if _, err := os.Stat(o.keys); err != nil {
			return usage("--keys: %w", err)
		}
	}
	return nil
}

func (o *options) checkMember() error {
	self, found := o.peers.find(o.name)
	switch {
	case len(o.peers) == 0:
		return usage("--peers is missing: want %s=HOST:PORT and the other members", o.name)
	case !found:
		return usage("--name %q is not in --peers, which has %s", o.name, o.peers.names())
	case o.dataDir == "":
		return usage("--data-dir is missing: a member of a cluster must find its files again")
	case o.join && len(o.peers) == 1:
		return usage("--join needs a running member in --peers")
	}
	if o.listenPeer == "" {
		o.listenPeer = self.Addr
	}
	if err := checkAddr(o.listenPeer); err != nil {
		return usage("--listen-peer %w", err)
	}
	return nil
}
