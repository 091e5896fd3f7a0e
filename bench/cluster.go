package main

import (
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// memberArgument makes this program a server process.
const memberArgument = "-member-of-bench"

// process is a server process.
type process struct {
	cmd   *exec.Cmd
	rpc   *rpc.Client
	addrs []string
}

func startProcess() (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(program, memberArgument)}
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.rpc = rpc.NewClient(pipe{out, in})
	return p, nil
}

// stop ends the process and waits for it. One that does not end within half a minute is killed.
func (p *process) stop() error {
	err := p.rpc.Close()
	late := time.AfterFunc(30*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	return errors.Join(err, p.cmd.Wait())
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
		p, err := startProcess()
		if err != nil {
			return c, err
		}
		c.members = append(c.members, p)
		order := Order{Kind: kind, Name: peer.Name, Dir: filepath.Join(dir, kind, peer.Name), Peers: peers, Keys: keys, FirstWrite: firstWrite}
		if kind != "floor" {
			if err := os.MkdirAll(order.Dir, 0o700); err != nil {
				return c, err
			}
		}
		calls[i] = p.rpc.Go("Member.Open", order, &Opened{}, nil)
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
	p, err := startProcess()
	if err != nil {
		return c, err
	}
	c.members = []*process{p}
	order := Order{
		Kind: kind, Name: peers[0].Name, Dir: filepath.Join(dir, kind), Peers: peers, Keys: keys, Log: at.log, Together: at.members > 1,
	}
	if err := os.MkdirAll(order.Dir, 0o700); err != nil {
		return c, err
	}
	if err := p.rpc.Call("Member.Open", order, &Opened{}); err != nil {
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
		err = errors.Join(err, p.stop())
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
func (c *cluster) used(collect bool) (Usage, error) {
	var all Usage
	for _, p := range c.members {
		var u Usage
		if err := p.rpc.Call("Member.Used", collect, &u); err != nil {
			return all, err
		}
		all.CPU += u.CPU
		all.Resident += u.Resident
		all.Anonymous += u.Anonymous
	}
	return all, nil
}

// spent measures the processor time of the members while f runs.
func (c *cluster) spent(f func() (Sample, error)) (Sample, error) {
	before, err := c.used(false)
	if err != nil {
		return Sample{}, err
	}
	s, err := f()
	if err != nil {
		return s, fmt.Errorf("bench: %s: %w", c.kind, err)
	}
	after, err := c.used(false)
	s.CPU = after.CPU - before.CPU
	return s, err
}
