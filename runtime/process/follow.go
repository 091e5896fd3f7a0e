package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// pollTime is how often the end of a supervisor that is about to end is looked for.
const pollTime = 5 * time.Millisecond

// recover adopts what is in Root/pods. A directory without a record is a sandbox that was never promised to anybody.
func (r *Runtime) recover() error {
	dirs, err := os.ReadDir(filepath.Join(r.config.Root, "pods"))
	if err != nil {
		return err
	}
	type found struct {
		sandbox *sandbox
		link    *link
		state   *podState
	}
	var mu sync.Mutex
	var all []found
	var failed error
	var recovering sync.WaitGroup
	for _, entry := range dirs {
		recovering.Go(func() {
			dir := filepath.Join(r.config.Root, "pods", entry.Name())
			record, err := readRecord(dir)
			if errors.Is(err, os.ErrNotExist) {
				err = os.RemoveAll(dir)
				record = nil
			}
			var f found
			if err == nil && record != nil {
				if f.sandbox, err = newSandbox(dir, record); err == nil {
					f.link, f.state, err = r.locate(f.sandbox)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = errors.Join(failed, err)
			} else if f.sandbox != nil {
				all = append(all, f)
			}
		})
	}
	recovering.Wait()
	for _, f := range all {
		r.mu.Lock()
		r.sandboxes[f.sandbox.id] = f.sandbox
		r.names[sandboxName(f.sandbox.config.Metadata)] = f.sandbox.id
		r.mu.Unlock()
		if !f.sandbox.record.HostNetwork && addressPerPod {
			r.addresses.claim(f.sandbox.addr)
		}
		if f.link != nil {
			r.follow(f.sandbox, f.link, f.state)
		}
	}
	return failed
}

// locate connects to a sandbox's supervisor, or establishes that there is none.
func (r *Runtime) locate(s *sandbox) (*link, *podState, error) {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	var last error
	for {
		lock, free, err := lockDir(s.dir)
		if err != nil {
			return nil, nil, err
		}
		if free {
			lock.Close()
			state, err := readState(s.dir)
			if err != nil {
				return nil, nil, err
			}
			s.state = state
			r.bury(s)
			return nil, nil, nil
		}
		var l *link
		var state *podState
		if l, state, last = connect(ctx, s.dir); last == nil {
			return l, state, nil
		}
		select {
		case <-time.After(pollTime):
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("sandbox %s: its supervisor lives but does not answer: %w", s.id, last)
		}
	}
}

// follow keeps the sandbox's state as its supervisor tells it, until the runtime closes or the supervisor ends.
func (r *Runtime) follow(s *sandbox, l *link, state *podState) {
	s.mu.Lock()
	s.link = l
	s.mu.Unlock()
	r.apply(s, state)
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		l.conn.close()
		return
	}
	r.wait.Add(1)
	r.mu.Unlock()
	go func() {
		defer r.wait.Done()
		for l != nil {
			l.read(func(state *podState) { r.apply(s, state) })
			l = r.reconnect(s, l)
		}
	}()
}

// reconnect finds out why a connection ended. It returns nil when there is nobody to connect to any more.
func (r *Runtime) reconnect(s *sandbox, old *link) *link {
	s.mu.Lock()
	s.link = nil
	s.mu.Unlock()
	r.mu.Lock()
	local := r.local[s.id]
	r.mu.Unlock()
	if local != nil {
		select {
		case <-local.ended:
			local.wait.Wait()
		case <-r.closing:
			return nil
		}
		r.apply(s, local.snapshot())
		r.bury(s)
		return nil
	}
	for !r.isClosed() {
		lock, free, err := lockDir(s.dir)
		if err == nil && free {
			lock.Close()
			if state, err := readState(s.dir); err == nil {
				r.apply(s, state)
			}
			r.bury(s)
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
		l, state, err := connect(ctx, s.dir)
		cancel()
		if err == nil {
			s.mu.Lock()
			s.link = l
			s.mu.Unlock()
			if r.isClosed() {
				l.conn.close()
			}
			r.apply(s, state)
			return l
		}
		select {
		case <-time.After(pollTime):
		case <-r.closing:
		}
	}
	return nil
}

// bury ends what a supervisor left behind, and declares the sandbox dead.
func (r *Runtime) bury(s *sandbox) {
	state, _ := s.snapshot()
	if state.Supervisor.PID != os.Getpid() {
		collectEnded(state.Supervisor)
	}
	for state.Supervisor.PID != os.Getpid() && alive(state.Supervisor) { // it has let go of its files but not of its processes
		select {
		case <-time.After(pollTime):
		case <-r.closing:
			return
		}
	}
	state = state.clone()
	changed := false
	for i := range state.Containers {
		c := &state.Containers[i]
		if c.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
			continue
		}
		killLeftover(c.Process)
		changed = true
		c.State, c.FinishedAt = runtimeapi.ContainerState_CONTAINER_EXITED, time.Now().UnixNano()
		c.ExitCode, c.Reason, c.Message = 137, "Error", "the supervisor of the sandbox ended, and its processes with it"
	}
	if changed {
		r.log.Warn("a supervisor ended while containers ran", zap.String("sandbox", s.id), zap.String("pod", sandboxName(s.config.Metadata)))
		state.Revision++
		if err := writeRecord(filepath.Join(s.dir, stateFile), state); err != nil {
			r.log.Warn("state of a dead sandbox is not on disk", zap.String("sandbox", s.id), zap.Error(err))
		}
	}
	s.mu.Lock()
	first := !s.dead
	s.dead = true
	s.mu.Unlock()
	if !first {
		return
	}
	r.apply(s, state)
	r.publish(s, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT, s.id)
	close(s.gone)
}

// apply takes over a state if it is newer, and tells the readers of events what is different.
func (r *Runtime) apply(s *sandbox, state *podState) {
	s.mu.Lock()
	old := s.state
	if state.Revision <= old.Revision {
		s.mu.Unlock()
		return
	}
	s.state = state
	s.mu.Unlock()
	for _, c := range state.Containers {
		before := old.container(c.ID)
		if before == nil {
			r.publish(s, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT, c.ID)
		}
		if c.StartedAt != 0 && c.Reason != "StartError" && (before == nil || before.StartedAt == 0) {
			r.publish(s, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT, c.ID)
		}
		if c.FinishedAt != 0 && (before == nil || before.FinishedAt == 0) {
			r.publish(s, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT, c.ID)
		}
	}
	for _, c := range old.Containers {
		if state.container(c.ID) == nil {
			r.publish(s, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT, c.ID)
		}
	}
}

func (r *Runtime) publish(s *sandbox, kind runtimeapi.ContainerEventType, id string) {
	if !r.feed.Watched() {
		return
	}
	r.feed.Publish(&runtimeapi.ContainerEventResponse{
		ContainerId: id, ContainerEventType: kind, CreatedAt: time.Now().UnixNano(),
		PodSandboxStatus: s.status(), ContainersStatuses: s.containerStatuses(),
	})
}

// ask sends a request to the sandbox's supervisor. When it returns the agent's state shows what the request did.
func (r *Runtime) ask(ctx context.Context, s *sandbox, q request) (*reply, error) {
	if err := ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	s.mu.Lock()
	l, dead := s.link, s.dead
	s.mu.Unlock()
	if dead {
		return nil, status.Errorf(codes.FailedPrecondition, "sandbox %s has ended", s.id)
	} else if l == nil {
		return nil, status.Errorf(codes.Unavailable, "the supervisor of sandbox %s is not connected", s.id)
	}
	return l.call(ctx, q)
}
