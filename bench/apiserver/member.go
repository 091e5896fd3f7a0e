package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/keelson-dev/keelson/apiserver/authn/pki"
	"github.com/keelson-dev/keelson/bench/internal/measure"
)

// Order tells a process what to run.
type Order struct {
	Kind string // etcd, keelson, floor
	Dir  string
	Addr string // host:port to listen on
	// Whole is keelson with its controllers and scheduler.
	Whole bool
	// Of the floor.
	CA       []byte
	Identity pki.Pair
}

// server is what a process of ours runs.
type server interface{ io.Closer }

// Member is a server process as the client's process sees it, by net/rpc over standard input and output.
type Member struct {
	server  server
	profile *os.File
}

// Memory is what the garbage collector says, in bytes: what is live and the goroutines' stacks, and what was ever allocated.
type Memory struct{ Live, Stacks, Allocated uint64 }

func serveMember(in io.ReadCloser, out io.WriteCloser) error {
	m := &Member{}
	if err := measure.Serve(m, in, out); err != nil {
		return err
	}
	if m.server == nil {
		return nil
	}
	return m.server.Close()
}

// Open starts the server, and returns when it serves.
func (m *Member) Open(o Order, _ *struct{}) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	switch o.Kind {
	case etcdKind:
		m.server, err = openEtcd(ctx, o)
	case keelsonKind:
		m.server, err = openKeelson(ctx, o)
	case floorKind:
		m.server, err = openFloor(o)
	default:
		err = fmt.Errorf("bench: no server %q", o.Kind)
	}
	return err
}

// Memory tells how much is live and how much was ever allocated, after a garbage collection if collect.
func (m *Member) Memory(collect bool, stats *Memory) error {
	if collect {
		runtime.GC() // and no more than that: kube-apiserver can't be asked to give memory back to the system
	}
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	*stats = Memory{Live: s.HeapAlloc, Stacks: s.StackInuse, Allocated: s.TotalAlloc}
	return nil
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

// Answer gives the floor what to answer.
func (m *Member) Answer(a Answers, _ *struct{}) error {
	f, ok := m.server.(*floor)
	if !ok {
		return fmt.Errorf("bench: a %T is no floor", m.server)
	}
	f.answers.Store(&a)
	return nil
}

// Run has keelson do a Job in its process.
func (m *Member) Run(j Job, s *measure.Sample) (err error) {
	k, ok := m.server.(*plane)
	if !ok {
		return fmt.Errorf("bench: a %T has no client in its process", m.server)
	}
	*s, err = k.run(j)
	return err
}
