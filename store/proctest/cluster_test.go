//go:build unix

package proctest

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/keelson-dev/keelson/apiserver/authn/pki"
	"github.com/keelson-dev/keelson/store"
)

// cluster is a number of members, each a process with a directory, and what clients need to reach them.
type cluster struct {
	t    *testing.T
	dir  string
	host string
	ca   *pki.CA

	mu      sync.Mutex
	members map[string]*node
}

// node is a member, whether it runs or not.
type node struct {
	cfg     memberConfig
	process *process
	conn    *grpc.ClientConn
}

// newCluster makes a cluster without members.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	ca, err := pki.NewCA("proctest", 0)
	require.NoError(t, err)
	c := &cluster{t: t, dir: t.TempDir(), host: "127.0.0.1", ca: ca, members: map[string]*node{}}
	if runtime.GOOS == "linux" {
		// An address of its own: no connection of another program takes a port while its member is down.
		c.host = fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), 1+rand.IntN(254), 1+rand.IntN(254))
	}
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "ca.crt"), ca.CertPEM(), 0o600))
	t.Cleanup(c.end)
	return c
}

// found starts a new cluster's first members.
func found(t *testing.T, names ...string) *cluster {
	t.Helper()
	c := newCluster(t)
	var peers []store.Peer
	for _, name := range names {
		peers = append(peers, store.Peer{Name: name, Addr: c.port()})
	}
	keys := filepath.Join(c.dir, "keys")
	require.NoError(t, os.WriteFile(keys, []byte("first "+base64.StdEncoding.EncodeToString(make([]byte, store.KeySize))+"\n"), 0o600))
	for i, p := range peers { // members may keep their files in different ways
		n := c.define(p.Name, peers)
		n.cfg.Bolt = i == 1
		if i == 2 {
			n.cfg.Keys = keys
		}
	}
	for _, name := range names {
		c.start(name)
	}
	return c
}

// define makes a member's certificate and connection; it does not start it.
func (c *cluster) define(name string, peers []store.Peer) *node {
	c.t.Helper()
	file := func(suffix string) string { return filepath.Join(c.dir, name+suffix) }
	c.certify(name, c.ca, pki.Request{CommonName: name, Hosts: []string{name}, Client: true})
	n := &node{cfg: memberConfig{
		Name: name, Dir: file(".data"), Peers: peers, Client: c.port(),
		Cert: file(".crt"), Key: file(".key"), CA: filepath.Join(c.dir, "ca.crt"),
	}}
	c.dial(n)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members[name] = n
	return n
}

func (c *cluster) dial(n *node) {
	c.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+n.cfg.Client,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(256<<20)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond}, MinConnectTimeout: time.Second,
		}))
	require.NoError(c.t, err)
	n.conn = conn
}

// certify writes a member's certificate and key, each as a whole.
func (c *cluster) certify(name string, ca *pki.CA, r pki.Request) {
	c.t.Helper()
	pair, err := ca.Issue(r)
	require.NoError(c.t, err)
	for suffix, content := range map[string][]byte{".crt": pair.CertPEM, ".key": pair.KeyPEM} {
		file := filepath.Join(c.dir, name+suffix)
		require.NoError(c.t, os.WriteFile(file+".new", content, 0o600))
		require.NoError(c.t, os.Rename(file+".new", file))
	}
}

// port returns an address that nobody listens at.
func (c *cluster) port() string {
	c.t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(c.host, "0"))
	require.NoError(c.t, err)
	defer l.Close()
	return l.Addr().String()
}

func (c *cluster) node(name string) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.members[name]
}

// names are those of the members that were defined, in order.
func (c *cluster) names() (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// start runs a member and waits until its files are open.
func (c *cluster) start(name string) *process {
	c.t.Helper()
	p := c.launch(name)
	select {
	case <-p.opened:
	case <-p.exited:
		require.Fail(c.t, "member "+name+" did not open", p.tail())
	}
	return p
}

// launch runs a member.
func (c *cluster) launch(name string) *process {
	c.t.Helper()
	n := c.node(name)
	p := launch(c.t, n.cfg, filepath.Join(c.dir, name+".log"))
	c.mu.Lock()
	defer c.mu.Unlock()
	n.process = p
	return p
}

func (c *cluster) process(name string) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.members[name].process
}

// serves waits until a member serves linearizable reads, and so has all that was acknowledged before the call.
func (c *cluster) serves(name string) store.Status {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	r, err := c.process(name).ask(ctx, request{Op: "revision"})
	require.NoError(c.t, err, "member %s\n%s", name, c.process(name).tail())
	return r.Status
}

// leader waits until the members agree on who leads.
func (c *cluster) leader(via string) string {
	c.t.Helper()
	for {
		if st := c.serves(via); st.LeaderName != "" {
			return st.LeaderName
		}
	}
}

// ask has a member do something that must succeed.
func (c *cluster) ask(name string, r request) reply {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	a, err := c.process(name).ask(ctx, r)
	require.NoError(c.t, err, "%s at %s\n%s", r.Op, name, c.process(name).tail())
	return a
}

// until polls a member's status.
func (c *cluster) until(name, what string, holds func(store.Status) bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := c.process(name).status(ctx)
		require.NoError(c.t, err, "%s\n%s", what, c.process(name).tail())
		if holds(st) {
			return
		}
		<-tick.C
	}
}

// end kills what still runs.
func (c *cluster) end() {
	for _, name := range c.names() {
		n := c.node(name)
		_ = n.conn.Close()
		if n.process == nil {
			continue
		}
		_ = n.process.cmd.Process.Signal(syscall.SIGKILL)
		<-n.process.exited
		if c.t.Failed() {
			c.t.Logf("member %s\n%s", name, n.process.tail())
		}
	}
}
