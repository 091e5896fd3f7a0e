package main

import (
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"path/filepath"
	"time"

	"github.com/keelson-dev/keelson/bench/internal/measure"
)

// process is a server process.
type process struct {
	*measure.Process
	addrs []string
}

// cluster is all members of one kind.
type cluster struct {
	kind    string
	members []*process
	first   time.Duration // Opened.Took of a single member
}

// startCluster starts members of a kind. Those that keep files have them below dir, and find those that are there.
func startCluster(kind string, members int, dir string, keys int, firstWrite bool) (c *cluster, err error) {
	c = &cluster{kind: kind}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	peers, err := freePeers(members)
	if err != nil {
		return c, err
	}
	running := peers
	if kind == "floor" {
		running = peers[:1] // it has nobody to agree with, and listens for all
	}
	calls := make([]*rpc.Call, len(running))
	for i, peer := range running {
		started, err := measure.Start()
		if err != nil {
			return c, err
		}
		p := &process{Process: started}
		c.members = append(c.members, p)
		order := Order{Kind: kind, Name: peer.Name, Dir: filepath.Join(dir, kind, peer.Name), Peers: peers, Keys: keys, FirstWrite: firstWrite}
		if kind != "floor" {
			if err := os.MkdirAll(order.Dir, 0o700); err != nil {
				return c, err
			}
		}
		calls[i] = p.RPC.Go("Member.Open", order, &Opened{}, nil)
	}
	for i, call := range calls {
		if <-call.Done; call.Error != nil {
			return c, fmt.Errorf("bench: %s: %w", kind, call.Error)
		}
		opened := call.Reply.(*Opened)
		c.members[i].addrs, c.first = opened.Addrs, opened.Took
	}
	return c, nil
}

// startTogether starts members of a kind in one process.
func startTogether(kind string, at setup, dir string, keys int) (c *cluster, err error) {
	c = &cluster{kind: kind}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	peers, err := freePeers(at.members)
	if err != nil {
		return c, err
	}
	started, err := measure.Start()
	if err != nil {
		return c, err
	}
	p := &process{Process: started}
	c.members = []*process{p}
	order := Order{
		Kind: kind, Name: peers[0].Name, Dir: filepath.Join(dir, kind), Peers: peers, Keys: keys, Log: at.log, Together: at.members > 1,
	}
	if err := os.MkdirAll(order.Dir, 0o700); err != nil {
		return c, err
	}
	if err := p.RPC.Call("Member.Open", order, &Opened{}); err != nil {
		return c, fmt.Errorf("bench: %s: %w", kind, err)
	}
	return c, nil
}

// freePeers returns members with addresses that are free now.
func freePeers(n int) ([]Peer, error) {
	peers := make([]Peer, n)
	for i := range peers {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // after all have been chosen
		peers[i] = Peer{Name: fmt.Sprintf("m%d", i+1), Addr: l.Addr().String()}
	}
	return peers, nil
}

func (c *cluster) stop() error {
	var err error
	for _, p := range c.members {
		err = errors.Join(err, p.Stop())
	}
	return err
}

func (c *cluster) endpoints() []string {
	var all []string
	for _, p := range c.members {
		all = append(all, p.addrs...)
	}
	return all
}

// used returns what all members together have used.
func (c *cluster) used(collect bool) (measure.Usage, error) {
	var all measure.Usage
	for _, p := range c.members {
		var u measure.Usage
		if err := p.RPC.Call("Member.Used", collect, &u); err != nil {
			return all, err
		}
		all.CPU += u.CPU
		all.Resident += u.Resident
		all.Anonymous += u.Anonymous
	}
	return all, nil
}

// spent measures the processor time of the members while f runs.
func (c *cluster) spent(f func() (measure.Sample, error)) (measure.Sample, error) {
	before, err := c.used(false)
	if err != nil {
		return measure.Sample{}, err
	}
	s, err := f()
	if err != nil {
		return s, fmt.Errorf("bench: %s: %w", c.kind, err)
	}
	after, err := c.used(false)
	s.CPU = after.CPU - before.CPU
	return s, err
}
