package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// supervisor owns the processes of one sandbox: it starts them, writes their logs, waits for them, and keeps the state
// on disk and with the agent up to date. It runs in a process of its own, or in the agent's.
type supervisor struct {
	dir    string
	record *podRecord
	config *runtimeapi.PodSandboxConfig
	host   *host
	listen net.Listener
	ended  chan struct{} // closed when everything has ended and may be removed

	mu         sync.Mutex
	state      podState
	containers map[string]*container
	execs      map[string]*launched
	watchers   map[*frameConn]chan struct{}
	conns      map[*frameConn]struct{}
	stopping   bool // nothing is created or started any more
	ending     bool // no connection is served any more

	saving chan struct{} // one token: held while the state file is written
	saved  uint64        // revision in the file; with the token
	wait   sync.WaitGroup
}

// newSupervisor starts to supervise the sandbox in dir. Own says that this process is there for nothing else.
func newSupervisor(dir string, i isolation, own bool) (*supervisor, error) {
	record, err := readRecord(dir)
	if err != nil {
		return nil, err
	}
	s := &supervisor{
		dir: dir, record: record, config: &runtimeapi.PodSandboxConfig{}, ended: make(chan struct{}),
		containers: map[string]*container{}, execs: map[string]*launched{},
		watchers: map[*frameConn]chan struct{}{}, conns: map[*frameConn]struct{}{}, saving: make(chan struct{}, 1),
	}
	s.saving <- struct{}{}
	if err := proto.Unmarshal(record.Config, s.config); err != nil {
		return nil, fmt.Errorf("sandbox config: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, rootDir), 0o755); err != nil {
		return nil, err
	}
	hostname := s.config.Hostname
	if record.HostNetwork {
		hostname = ""
	}
	if s.host, err = newHost(dir, i, own, hostname); err != nil {
		return nil, err
	}
	s.state = podState{Version: recordVersion, Isolation: i, Supervisor: s.self()}
	if err := s.commit(func(*podState) {}); err != nil {
		return nil, err
	}
	path, done, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	os.Remove(filepath.Join(dir, socketFile))
	listen, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listen.SetUnlinkOnClose(false)
	s.listen = listen
	s.wait.Go(s.serve)
	return s, nil
}

// commit changes the state, writes it down, and shows it to the agent.
func (s *supervisor) commit(change func(*podState)) error {
	s.mu.Lock()
	change(&s.state)
	s.state.Revision++
	state := s.state.clone()
	s.mu.Unlock()

	content, err := json.Marshal(state)
	if err != nil {
		return err
	}
	<-s.saving
	if state.Revision > s.saved {
		if err = writeFile(filepath.Join(s.dir, stateFile), content); err == nil {
			s.saved = state.Revision
		}
	}
	s.saving <- struct{}{}

	s.mu.Lock()
	for _, wake := range s.watchers {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	s.mu.Unlock()
	return err
}

func (s *supervisor) snapshot() *podState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.clone()
}

// change commits a change of one container.
func (s *supervisor) change(id string, change func(*containerState)) error {
	return s.commit(func(state *podState) {
		if c := state.container(id); c != nil {
			change(c)
		}
	})
}

func (s *supervisor) serve() {
	for {
		conn, err := s.listen.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors: somebody will close some
			continue
		}
		c := newFrameConn(conn)
		s.mu.Lock()
		ending := s.ending
		if !ending {
			s.conns[c] = struct{}{}
		}
		s.mu.Unlock()
		if ending {
			c.close()
			continue
		}
		s.wait.Go(func() {
			s.converse(c)
			c.close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

// converse reads the first request, which says what the connection is for.
func (s *supervisor) converse(c *frameConn) {
	kind, payload, err := c.read()
	if err != nil || kind != frameRequest {
		return
	}
	var first request
	if json.Unmarshal(payload, &first) != nil {
		return
	}
	switch {
	case first.Protocol != protocolVersion:
		c.writeJSON(frameReply, reply{Seq: first.Seq, Protocol: protocolVersion, Code: codes.Unimplemented,
			Message: fmt.Sprintf("supervisor speaks protocol %d, agent asks for %d", protocolVersion, first.Protocol)})
	case first.Op == opExec:
		s.exec(c, first)
	case first.Op == opAttach:
		s.attach(c, first)
	case first.Op == opHello:
		s.control(c, first)
	default:
		c.writeJSON(frameReply, reply{Seq: first.Seq, Code: codes.InvalidArgument, Message: "connection begins with " + first.Op})
	}
}

// control serves an agent: its requests, each in its own time, and the state after each change.
func (s *supervisor) control(c *frameConn, hello request) {
	wake := make(chan struct{}, 1)
	gone := make(chan struct{})
	s.mu.Lock()
	s.watchers[c] = wake
	s.mu.Unlock()
	var pushing sync.WaitGroup
	defer func() {
		s.mu.Lock()
		delete(s.watchers, c)
		s.mu.Unlock()
		close(gone)
		c.close()
		pushing.Wait()
	}()
	if c.writeJSON(frameReply, reply{Seq: hello.Seq, Protocol: protocolVersion, State: s.snapshot()}) != nil {
		return
	}
	pushing.Go(func() {
		for {
			select {
			case <-wake:
			case <-gone:
				return
			}
			if c.writeJSON(frameState, s.snapshot()) != nil {
				return
			}
		}
	})
	slots := make(chan struct{}, controlPool)
	for {
		kind, payload, err := c.read()
		if err != nil || kind != frameRequest {
			return
		}
		var q request
		if json.Unmarshal(payload, &q) != nil {
			return
		}
		slots <- struct{}{}
		s.wait.Go(func() {
			defer func() { <-slots }()
			answer := reply{Seq: q.Seq}
			if err := s.handle(q, &answer); err != nil {
				answer.Code, answer.Message = status.Code(err), status.Convert(err).Message()
			}
			answer.State = s.snapshot()
			c.writeJSON(frameReply, answer)
			if q.Op == opEnd {
				s.finish()
			}
		})
	}
}

func (s *supervisor) handle(q request, answer *reply) error {
	switch q.Op {
	case opCreate:
		return s.create(q)
	case opStats:
		answer.Usage = s.usages()
		return nil
	case opStopPod:
		s.stopAll()
		return s.commit(func(state *podState) { state.Stopped = true })
	case opEnd:
		s.stopAll()
		return s.commit(func(state *podState) { state.Stopped = true })
	case opKillExec:
		s.mu.Lock()
		p := s.execs[q.Exec]
		s.mu.Unlock()
		if p != nil {
			s.killExec(q.Container, p)
		}
		return nil
	}
	s.mu.Lock()
	c := s.containers[q.Container]
	s.mu.Unlock()
	if c == nil {
		return status.Errorf(codes.NotFound, "container %q not found", q.Container)
	}
	switch q.Op {
	case opStart:
		return c.start()
	case opStop:
		c.stop(time.Duration(q.Timeout) * time.Second)
		return nil
	case opRemove:
		return c.remove()
	case opReopen:
		return c.reopenLog()
	case opUpdate:
		return s.change(c.id, func(state *containerState) { state.Config = q.Config })
	default:
		return status.Errorf(codes.Unimplemented, "supervisor does not know operation %q", q.Op)
	}
}

func (s *supervisor) create(q request) error {
	c, err := newContainer(s, q)
	if err != nil {
		return err
	}
	s.mu.Lock()
	stopped, taken := s.stopping, ""
	for _, other := range s.containers {
		if other.config.Metadata.GetName() == c.config.Metadata.GetName() && other.config.Metadata.GetAttempt() == c.config.Metadata.GetAttempt() {
			taken = other.id
		}
	}
	if !stopped && taken == "" {
		s.containers[q.Container] = c
	}
	s.mu.Unlock()
	if stopped {
		return status.Errorf(codes.FailedPrecondition, "sandbox %s is stopped", s.record.ID)
	} else if taken != "" {
		return status.Errorf(codes.AlreadyExists, "container %s, attempt %d, exists with id %s",
			c.config.Metadata.GetName(), c.config.Metadata.GetAttempt(), taken)
	}
	return s.commit(func(state *podState) {
		state.Containers = append(slices.Clone(state.Containers), containerState{ID: c.id, Config: q.Config,
			State: runtimeapi.ContainerState_CONTAINER_CREATED, CreatedAt: time.Now().UnixNano()})
	})
}

func (s *supervisor) all() []*container {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*container
	for _, c := range s.containers {
		out = append(out, c)
	}
	return out
}

// stopAll stops all containers, with the sandbox's grace, and lets no other start.
func (s *supervisor) stopAll() {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	grace := time.Duration(s.record.GraceMillis) * time.Millisecond
	var stopping sync.WaitGroup
	for _, c := range s.all() {
		stopping.Go(func() {
			c.stop(grace)
			<-c.ops // one that was being started runs now
			c.stop(grace)
			c.ops <- struct{}{}
		})
	}
	stopping.Wait()
}

func (s *supervisor) usages() map[string]usage {
	out := map[string]usage{}
	for _, c := range s.all() {
		if p := c.running(); p != nil {
			out[c.id] = s.host.usage(c.id, p)
		}
	}
	return out
}

// end stops everything because the supervisor was told to end by a signal, or by the end of the agent it runs in.
func (s *supervisor) end() {
	s.stopAll()
	s.commit(func(state *podState) { state.Stopped = true })
	s.finish()
}

// finish closes everything once; ended is closed when it is done.
func (s *supervisor) finish() {
	s.mu.Lock()
	first := !s.ending
	s.ending = true
	conns := make([]*frameConn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	if !first {
		return
	}
	s.listen.Close()
	for _, c := range conns {
		c.close()
	}
	close(s.ended)
}

// self identifies the process we run in.
func (s *supervisor) self() processID { return s.host.identify(os.Getpid()) }
