package process

import (
	"context"
	"encoding/json"
	"net"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// link is the agent's control connection to a supervisor.
type link struct {
	conn *frameConn

	mu      sync.Mutex
	seq     uint64
	pending map[uint64]chan *reply
	err     error // set when the connection has ended

	down chan struct{} // closed when the connection has ended
}

// dial connects to the supervisor of the sandbox in dir.
func dial(ctx context.Context, dir string) (net.Conn, error) {
	path, done, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}

// connect says hello and returns the link, with the state the sandbox is in. The caller runs link.read.
func connect(ctx context.Context, dir string) (*link, *podState, error) {
	raw, err := dial(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	conn := newFrameConn(raw)
	fail := func(err error) (*link, *podState, error) {
		conn.close()
		return nil, nil, err
	}
	if err := conn.writeJSON(frameRequest, request{Op: opHello, Protocol: protocolVersion}); err != nil {
		return fail(err)
	}
	_, payload, err := conn.read()
	if err != nil {
		return fail(err)
	}
	var hello reply
	if err := json.Unmarshal(payload, &hello); err != nil {
		return fail(err)
	}
	if err := hello.err(); err != nil {
		return fail(err)
	}
	if hello.State == nil {
		return fail(status.Error(codes.Internal, "supervisor told no state"))
	}
	return &link{conn: conn, pending: map[uint64]chan *reply{}, down: make(chan struct{})}, hello.State, nil
}

// read hands out replies and states until the connection ends.
func (l *link) read(state func(*podState)) {
	for {
		kind, payload, err := l.conn.read()
		if err == nil {
			switch kind {
			case frameState:
				var s podState
				if err = json.Unmarshal(payload, &s); err == nil {
					state(&s)
				}
			case frameReply:
				var r reply
				if err = json.Unmarshal(payload, &r); err == nil {
					if r.State != nil {
						state(r.State)
					}
					l.mu.Lock()
					ch := l.pending[r.Seq]
					delete(l.pending, r.Seq)
					l.mu.Unlock()
					if ch != nil {
						ch <- &r
					}
				}
			}
		}
		if err != nil {
			l.mu.Lock()
			l.err = err
			l.mu.Unlock()
			l.conn.close()
			close(l.down)
			return
		}
	}
}

// call asks the supervisor. A call whose context ends is still carried out.
func (l *link) call(ctx context.Context, q request) (*reply, error) {
	answer := make(chan *reply, 1)
	l.mu.Lock()
	l.seq++
	q.Seq = l.seq
	l.pending[q.Seq] = answer
	l.mu.Unlock()
	if err := l.conn.writeJSON(frameRequest, q); err != nil {
		l.mu.Lock()
		delete(l.pending, q.Seq)
		l.mu.Unlock()
		if status.Code(err) == codes.ResourceExhausted {
			return nil, err
		}
		return nil, l.lost()
	}
	select {
	case r := <-answer:
		return r, r.err()
	case <-l.down:
		select {
		case r := <-answer:
			return r, r.err()
		default:
			return nil, l.lost()
		}
	case <-ctx.Done():
		l.mu.Lock()
		delete(l.pending, q.Seq)
		l.mu.Unlock()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

func (l *link) lost() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return status.Errorf(codes.Unavailable, "the sandbox's supervisor went away: %v", l.err)
}
