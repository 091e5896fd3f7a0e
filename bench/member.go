package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/keelson-dev/keelson/bench/internal/measure"
)

// server is what a process of the measured kind runs.
type server interface {
	addrs() []string // where gRPC clients connect
	local() target   // for calls in the same process; nil if there is nothing behind the server
	io.Closer
}

// Order tells a process what to run.
type Order struct {
	Kind      string // etcd, keelson, floor
	Name, Dir string
	Peers     []Peer // all members, this one too
	// Keys is how many keys the floor pretends to hold.
	Keys int
	// Log is Keelson's log store: bolt, or empty for the default.
	Log string
	// Together runs all of Peers in this process.
	Together bool
	// FirstWrite puts a key right after the start.
	FirstWrite bool
}

// Peer is a member's address for other members.
type Peer struct{ Name, Addr string }

// Opened answers an Order.
type Opened struct {
	Addrs []string
	// Took is the time from before the store was opened until it served, or had written the first key.
	Took time.Duration
}

// Job is a round of an in-process row.
type Job struct {
	Operation     string // as newOperation has it, or watch
	Callers, Keys int
	Duration      time.Duration
	// Of a watch: how many watch the busy prefix and how many another one, and the puts per round.
	Watchers, Idle, Puts int
}

// JobDone answers a Job.
type JobDone struct {
	Sample  measure.Sample
	Writing time.Duration
}

// Member is a server process as the client's process sees it, by net/rpc over standard input and output.
type Member struct {
	server   server
	profile  *os.File
	audience map[[2]int]*audience
}

// serveMember is the process of a server: it ends with its standard input.
func serveMember(in io.ReadCloser, out io.WriteCloser) error {
	m := &Member{audience: map[[2]int]*audience{}}
	if err := measure.Serve(m, in, out); err != nil {
		return err
	}
	if m.server == nil {
		return nil
	}
	return m.server.Close()
}

// Open starts the server.
func (m *Member) Open(o Order, opened *Opened) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	begin := time.Now()
	m.server, err = openServer(ctx, o)
	if err == nil && o.FirstWrite {
		err = m.server.local().put(ctx, 0, []byte("/first"), make([]byte, valueSize))
	}
	if err != nil {
		return err
	}
	*opened = Opened{Addrs: m.server.addrs(), Took: time.Since(begin)}
	return nil
}

// Used tells what the process has used, after a garbage collection if collect.
func (m *Member) Used(collect bool, u *measure.Usage) error {
	if collect {
		runtime.GC()
		debug.FreeOSMemory()
	}
	var err error
	*u, err = measure.Of(os.Getpid())
	return err
}

// Profile starts to write a processor profile to a file, or with an empty name ends that.
func (m *Member) Profile(file string, _ *struct{}) (err error) {
	if file == "" {
		pprof.StopCPUProfile()
		return m.profile.Close()
	}
	if m.profile, err = os.Create(file); err != nil {
		return err
	}
	return pprof.StartCPUProfile(m.profile)
}

// Heap writes a profile of the memory to a file.
func (m *Member) Heap(file string, _ *struct{}) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}

// Fill puts keys that are not there yet.
func (m *Member) Fill(keys int, _ *struct{}) error {
	return fillAll(context.Background(), m.server.local(), makeKeys(keyPrefix, keys))
}

// Run does a Job.
func (m *Member) Run(j Job, done *JobDone) (err error) {
	ctx := context.Background()
	if j.Operation == "watch" {
		return m.watch(ctx, j, done)
	}
	op, err := newOperation(j.Operation, m.server.local(), makeKeys(keyPrefix, j.Keys))
	if err != nil {
		return err
	}
	every := 1
	if strings.HasSuffix(j.Operation, "get") {
		every = 64 // a look at the clock takes a good part of the time of a get
	}
	done.Sample, err = measure.Drive(ctx, j.Callers, j.Duration, every, op)
	return err
}

// watch is a round with watchers, who stay for the next one of the same form.
func (m *Member) watch(ctx context.Context, j Job, done *JobDone) error {
	form := [2]int{j.Watchers, j.Idle}
	a := m.audience[form]
	if a == nil {
		var err error
		if _, err = gather(ctx, m.server.local(), j.Idle, "/idle/"); err != nil {
			return err
		}
		prefix := fmt.Sprintf("%s%d/%d/", busyPrefix, j.Watchers, j.Idle)
		if a, err = gather(ctx, m.server.local(), j.Watchers, prefix); err != nil {
			return err
		}
		m.audience[form] = a
	}
	keys := makeKeys(fmt.Sprintf("%s%d/%d/", busyPrefix, j.Watchers, j.Idle), 100)
	var err error
	done.Sample, done.Writing, err = a.perform(ctx, m.server.local(), j.Watchers, j.Puts, j.Callers, keys)
	return err
}
