package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authn/pki"
	"github.com/keelson-dev/keelson/bench/internal/measure"
)

// The kinds of server.
const (
	kubeKind    = "kube-apiserver"
	keelsonKind = "keelson"
	floorKind   = "floor"
	etcdKind    = "etcd" // part of kubeKind
)

// credentials are what all servers and the client of a run use.
type credentials struct {
	ca            *pki.CA
	server, admin *pki.Pair
}

func newCredentials() (c *credentials, err error) {
	c = &credentials{}
	if c.ca, err = pki.NewCA("bench", 0); err != nil {
		return nil, err
	}
	if c.server, err = c.ca.Issue(pki.Request{CommonName: "bench", Hosts: []string{"localhost", "127.0.0.1"}}); err != nil {
		return nil, err
	}
	c.admin, err = c.ca.Issue(pki.Request{CommonName: "bench", Organizations: []string{authn.GroupMasters}, Client: true})
	return c, err
}

// tls is what the client asks for /readyz with.
func (c *credentials) tls() (*tls.Config, error) {
	pair, err := c.admin.TLS()
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.ca.Pool(), Certificates: []tls.Certificate{pair}}, nil
}

// contender is one server with all its processes.
type contender struct {
	kind, url   string
	credentials *credentials
	own         []*measure.Process // processes of this program; keelson's or the floor's is the first
	foreign     *exec.Cmd          // kube-apiserver
	exited      chan struct{}      // closed when foreign has ended
	started     time.Duration      // from the execution to the first 200 of /readyz
}

// start starts a server with its files below dir, and waits until it is ready. binary is kube-apiserver's.
func start(ctx context.Context, kind, dir, binary string, credentials *credentials, whole bool) (c *contender, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	c = &contender{kind: kind, credentials: credentials}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
			c = nil
		}
	}()
	addr, err := freeAddr()
	if err != nil {
		return c, err
	}
	c.url = "https://" + addr
	order := Order{Kind: kind, Dir: dir, Addr: addr, Whole: whole}
	ctx, cancel := context.WithCancel(ctx) // when there is nothing to wait for any more
	defer cancel()
	var begin time.Time
	opened := make(chan error, 1)
	switch kind {
	case kubeKind:
		etcdAddr, err := freeAddr()
		if err != nil {
			return c, err
		}
		if err := c.open(Order{Kind: etcdKind, Dir: filepath.Join(dir, etcdKind), Addr: etcdAddr}); err != nil {
			return c, err
		}
		begin = time.Now()
		if c.foreign, err = startKube(binary, dir, addr, etcdAddr, credentials); err != nil {
			return c, err
		}
		c.exited = make(chan struct{})
		go func() {
			_ = c.foreign.Wait() // says how it was killed
			close(c.exited)
			cancel()
		}()
	case keelsonKind:
		if err := giveAuthority(credentials.ca, filepath.Join(dir, "data", "pki")); err != nil {
			return c, err
		}
		fallthrough
	default:
		order.CA, order.Identity = credentials.ca.CertPEM(), *credentials.server
		begin = time.Now()
		go func() {
			err := c.open(order)
			if err != nil {
				cancel()
			}
			opened <- err
		}()
		defer func() {
			if failed := <-opened; failed != nil {
				err = failed
			}
		}()
	}
	if err := c.awaitReady(ctx); err != nil {
		if kind == kubeKind {
			return c, fmt.Errorf("bench: %s: %w; it said:\n%s", kind, err, tail(filepath.Join(dir, "log")))
		}
		return c, fmt.Errorf("bench: %s: %w", kind, err)
	}
	c.started = time.Since(begin)
	return c, nil
}

// giveAuthority has keelson find an authority where it would keep its own.
func giveAuthority(ca *pki.CA, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	return errors.Join(ca.Save(root), root.Close())
}

func (c *contender) open(o Order) error {
	p, err := measure.Start()
	if err != nil {
		return err
	}
	c.own = append(c.own, p)
	if err := p.RPC.Call("Member.Open", o, &struct{}{}); err != nil {
		return fmt.Errorf("bench: %s: %w", o.Kind, err)
	}
	return nil
}

// readyWithin is how long a server may take to start on a machine that others use too.
const readyWithin = time.Minute

// awaitReady asks for /readyz, each time over a new connection, until it says 200.
func (c *contender) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	config, err := c.credentials.tls()
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	for last := errors.New("it was not asked"); ; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/readyz", nil)
		if err != nil {
			return err
		}
		res, err := transport.RoundTrip(req)
		if err == nil {
			_ = res.Body.Close() // its status is all that is asked for
			if res.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(res.Status)
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", last)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// stop kills kube-apiserver, whose files are thrown away, and ends the other processes.
func (c *contender) stop() error {
	var err error
	if c.foreign != nil {
		if err = c.foreign.Process.Kill(); errors.Is(err, os.ErrProcessDone) {
			err = nil
		}
		<-c.exited
	}
	for _, p := range c.own {
		err = errors.Join(err, p.Stop())
	}
	return err
}

func (c *contender) pids() []int {
	var all []int
	for _, p := range c.own {
		all = append(all, p.PID())
	}
	if c.foreign != nil {
		all = append(all, c.foreign.Process.Pid)
	}
	return all
}

// used returns what all processes have used.
func (c *contender) used() (measure.Usage, error) {
	var all measure.Usage
	for _, pid := range c.pids() {
		u, err := measure.Of(pid)
		if err != nil {
			return all, err
		}
		all.CPU += u.CPU
		all.Resident += u.Resident
		all.Anonymous += u.Anonymous
		all.Peak += u.Peak
	}
	return all, nil
}

// spent measures the processor time of the processes while f runs.
func (c *contender) spent(f func() (measure.Sample, error)) (measure.Sample, error) {
	before, err := c.used()
	if err != nil {
		return measure.Sample{}, err
	}
	s, err := f()
	if err != nil {
		return s, fmt.Errorf("%s: %w", c.kind, err)
	}
	after, err := c.used()
	s.CPU = after.CPU - before.CPU
	return s, err
}

// peak measures how much the resident memory of the processes grows at most while f runs.
func (c *contender) peak(f func() (measure.Sample, error)) (s measure.Sample, grown int64, err error) {
	for _, pid := range c.pids() {
		if err := measure.ResetPeak(pid); err != nil {
			return s, 0, err
		}
	}
	before, err := c.used()
	if err != nil {
		return s, 0, err
	}
	if s, err = f(); err != nil {
		return s, 0, err
	}
	after, err := c.used()
	return s, max(0, after.Peak-before.Resident), err
}

// memory tells what all processes have in memory after two garbage collections in each, the second for what the first has
// emptied, and how much of it is live.
func (c *contender) memory(ctx context.Context) (measure.Usage, Memory, error) {
	if u, live, err := c.collected(ctx); err != nil {
		return u, live, err
	}
	return c.collected(ctx)
}

func (c *contender) collected(ctx context.Context) (u measure.Usage, live Memory, err error) {
	add := func(m Memory) {
		live.Live += m.Live
		live.Stacks += m.Stacks
	}
	for _, p := range c.own {
		var m Memory
		if err := p.RPC.Call("Member.Memory", true, &m); err != nil {
			return u, live, err
		}
		add(m)
	}
	if c.foreign != nil {
		m, err := c.kubeMemory(ctx)
		if err != nil {
			return u, live, err
		}
		add(m)
	}
	u, err = c.used()
	return u, live, err
}

// allocated is how many bytes keelson's process has ever allocated; of others it is not known.
func (c *contender) allocated() (uint64, error) {
	if c.kind != keelsonKind {
		return 0, nil
	}
	var m Memory
	err := c.own[0].RPC.Call("Member.Memory", false, &m)
	return m.Allocated, err
}

// profile has keelson and the floor write a profile; an empty name ends it.
func (c *contender) profile(file string) error {
	if c.kind == kubeKind {
		return nil
	}
	return c.own[0].RPC.Call("Member.Profile", file, &struct{}{})
}

// heap has keelson write a profile of its memory.
func (c *contender) heap(file string) error {
	if c.kind != keelsonKind {
		return nil
	}
	return c.own[0].RPC.Call("Member.Heap", file, &struct{}{})
}

// freeAddr returns an address of loopback that is free now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// tail is the end of a file, for messages.
func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-20):], []byte("\n")))
}
