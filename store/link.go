package store

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// A link carries the store's own calls to another member: frames of a length, a number, a kind, and the content. The
// answer to a call has its number; a notice has number 0 and no answer. One connection carries all calls, both ways
// round the order is free.
const (
	frameHead   = 13 // length 4, number 8, kind 1
	maxFrame    = 64 << 20
	maxServed   = 256 // calls of one connection at a time
	linkTimeout = 10 * time.Second

	framePart    = 64 << 10 // what is read of a frame at once, at first; later as much as there is, up to
	maxFramePart = 1 << 20  // which may take linkTimeout
)

// handler answers a call of a member, or takes a notice. ctx ends with the connection. Kinds for which quick is true
// don't wait for anything.
type handler interface {
	answer(ctx context.Context, from string, kind byte, content []byte) []byte
	quick(kind byte) bool
}

var (
	errLink = errors.New("connection lost")
	errTurn = errors.New("another member leads")
)

// link is the calling side. It connects when it is used.
type link struct {
	peers *peers
	name  string

	mu      sync.Mutex
	wire    *wire
	dialing chan struct{} // closed when the attempt that is under way is over
}

// wire is a connection of either side: a queue of frames and the goroutine that writes them.
type wire struct {
	conn net.Conn
	work chan struct{}
	dead chan struct{}

	mu      sync.Mutex
	out     []byte
	ended   bool
	number  uint64
	pending map[uint64]chan []byte
}

func newWire(conn net.Conn) *wire {
	return &wire{conn: conn, work: make(chan struct{}, 1), dead: make(chan struct{}), pending: map[uint64]chan []byte{}}
}

func appendFrame(p []byte, number uint64, kind byte, content []byte) []byte {
	p = binary.BigEndian.AppendUint32(p, uint32(len(content)))
	p = binary.BigEndian.AppendUint64(p, number)
	p = append(p, kind)
	return append(p, content...)
}

// frames reads frames. It waits for the next one as long as it takes, and no more than linkTimeout for a part of one
// that has begun. What a frame takes in memory grows with what has arrived of it: its length is only a claim.
type frames struct {
	r        *bufio.Reader
	deadline func(time.Time) error
}

func newFrames(conn net.Conn) frames { return frames{bufio.NewReader(conn), conn.SetReadDeadline} }

func (f frames) next() (number uint64, kind byte, content []byte, err error) {
	if _, err := f.r.Peek(1); err != nil {
		return 0, 0, nil, err
	}
	var head [frameHead]byte
	if err := f.fill(head[:]); err != nil {
		return 0, 0, nil, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n > maxFrame {
		return 0, 0, nil, fmt.Errorf("%w: frame of %d bytes", ErrCorrupt, n)
	}
	number, kind = binary.BigEndian.Uint64(head[4:]), head[12]
	content = make([]byte, min(n, framePart))
	for have := 0; ; {
		if err := f.fill(content[have:]); err != nil {
			return 0, 0, nil, err
		}
		if have = len(content); have == n {
			return number, kind, content, nil
		}
		more := min(n-have, have, maxFramePart)
		content = slices.Grow(content, more)[:have+more]
	}
}

// fill reads all of p.
func (f frames) fill(p []byte) error {
	if f.r.Buffered() >= len(p) {
		_, err := io.ReadFull(f.r, p)
		return err
	}
	if err := f.deadline(time.Now().Add(linkTimeout)); err != nil {
		return err
	}
	if _, err := io.ReadFull(f.r, p); err != nil {
		return err
	}
	return f.deadline(time.Time{})
}

// send queues a frame. A call with an answer gives the channel for it.
func (w *wire) send(number uint64, kind byte, content []byte) error {
	w.mu.Lock()
	if w.ended {
		w.mu.Unlock()
		return errLink
	}
	if len(w.out) > maxFrame {
		w.mu.Unlock()
		return fmt.Errorf("%w: the other side does not read", errLink)
	}
	w.out = appendFrame(w.out, number, kind, content)
	w.mu.Unlock()
	select {
	case w.work <- struct{}{}:
	default:
	}
	return nil
}

func (w *wire) call() (number uint64, answer chan []byte) {
	answer = make(chan []byte, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.number++
	w.pending[w.number] = answer
	return w.number, answer
}

func (w *wire) forget(number uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pending, number)
}

// write is the writing goroutine.
func (w *wire) write() {
	var spare []byte
	for {
		select {
		case <-w.work:
		case <-w.dead:
			return
		}
		w.mu.Lock()
		out := w.out
		if len(out) == 0 { // it went with the frames before
			w.mu.Unlock()
			continue
		}
		w.out, spare = spare[:0], nil // the two are never the same
		w.mu.Unlock()
		if w.conn.SetWriteDeadline(time.Now().Add(linkTimeout)) != nil {
			w.end()
			return
		}
		if _, err := w.conn.Write(out); err != nil {
			w.end()
			return
		}
		if spare = out; cap(spare) > 1<<20 {
			spare = nil
		}
	}
}

func (w *wire) end() {
	w.mu.Lock()
	first := !w.ended
	w.ended = true
	w.mu.Unlock()
	if first {
		close(w.dead)
		_ = w.conn.Close()
	}
}

// read is the reading goroutine of the calling side.
func (w *wire) read() {
	defer w.end()
	in := newFrames(w.conn)
	for {
		number, _, content, err := in.next()
		if err != nil {
			return
		}
		w.mu.Lock()
		answer := w.pending[number]
		delete(w.pending, number)
		w.mu.Unlock()
		if answer != nil {
			answer <- content
		}
	}
}

// connect returns the connection there is, or makes one.
func (l *link) connect(ctx context.Context) (*wire, error) {
	for {
		l.mu.Lock()
		w, wait := l.wire, l.dialing
		if w != nil {
			select {
			case <-w.dead:
				w, l.wire = nil, nil
			default:
			}
		}
		if w != nil {
			l.mu.Unlock()
			return w, nil
		}
		if wait == nil {
			l.dialing = make(chan struct{})
			l.mu.Unlock()
			return l.dial(ctx)
		}
		l.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (l *link) dial(ctx context.Context) (*wire, error) {
	var w *wire
	to, err := l.peers.find(func(p Peer) bool { return p.Name == l.name })
	if err == nil {
		var conn net.Conn
		if conn, err = l.peers.dial(ctx, to, helloStore); err == nil {
			w = newWire(conn)
			l.peers.loops.Go(w.write)
			l.peers.loops.Go(w.read)
		}
	}
	l.mu.Lock()
	l.wire = w
	done := l.dialing
	l.dialing = nil
	l.mu.Unlock()
	close(done)
	return w, err
}

// connected reports whether there is a connection, as far as is known.
func (l *link) connected() bool {
	l.mu.Lock()
	w := l.wire
	l.mu.Unlock()
	if w == nil {
		return false
	}
	select {
	case <-w.dead:
		return false
	default:
		return true
	}
}

// call asks and waits for the answer. When ctx ends first because the other side is silent, the connection is given
// up: what comes after would be as late.
func (l *link) call(ctx context.Context, kind byte, content []byte) ([]byte, error) {
	return l.callUntil(ctx, nil, kind, content)
}

// callUntil is call that waits for an answer until turn is closed, and then returns errTurn.
func (l *link) callUntil(ctx context.Context, turn <-chan struct{}, kind byte, content []byte) ([]byte, error) {
	began := l.peers.metrics.began()
	answer, err := l.exchange(ctx, turn, kind, content)
	l.peers.metrics.called(l.name, began, err)
	return answer, err
}

func (l *link) exchange(ctx context.Context, turn <-chan struct{}, kind byte, content []byte) ([]byte, error) {
	w, err := l.connect(ctx)
	if err != nil {
		return nil, err
	}
	number, answer := w.call()
	defer w.forget(number)
	if err := w.send(number, kind, content); err != nil {
		return nil, err
	}
	select {
	case a := <-answer:
		return a, nil
	case <-w.dead:
		return nil, errLink
	case <-turn:
		return nil, errTurn
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			w.end()
		}
		return nil, ctx.Err()
	}
}

// notify sends what needs no answer, if there is a connection.
func (l *link) notify(kind byte, content []byte) {
	l.mu.Lock()
	w := l.wire
	l.mu.Unlock()
	if w != nil {
		_ = w.send(0, kind, content) // what is lost here comes with Raft's next message
	}
}

// serveLink is the answering side. It returns when the connection ends.
func serveLink(conn net.Conn, from string, p *peers) {
	ctx, cancel := context.WithCancel(context.Background())
	w := newWire(conn)
	var calls sync.WaitGroup
	calls.Go(w.write)
	defer func() {
		cancel()
		w.end()
		calls.Wait()
	}()
	slots := make(chan struct{}, maxServed)
	in := newFrames(conn)
	for {
		number, kind, content, err := in.next()
		if err != nil || !p.knows(from) {
			return
		}
		run := func() {
			answer := p.handle.answer(ctx, from, kind, content)
			if number != 0 {
				_ = w.send(number, kind, answer) // fails if the connection has ended
			}
		}
		if p.handle.quick(kind) {
			run()
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-w.dead:
			return
		}
		calls.Go(func() {
			run()
			<-slots
		})
	}
}
