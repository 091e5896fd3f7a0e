package transport

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	readBuffer = 32 << 10
	// streamWindow is what a client may send on a stream unasked; a larger message gets what it lacks.
	streamWindow = 1 << 20
	// connWindow is what a client may send on a connection before it is told that it may go on.
	connWindow = 16 << 20
	// highWater is how much waits to be written before streams with more to send wait, and twice that before
	// nothing more is read.
	highWater = 256 << 10
	// greetTime is how long a client may take for its TLS handshake and HTTP/2's preface.
	greetTime = 10 * time.Second
)

// conn is a connection. One goroutine reads it, and any writes.
type conn struct {
	server  *Server
	nc      net.Conn
	headers *headerReader
	idle    chan struct{} // closed when a closing connection has no calls any more, or the connection has ended
	gone    chan struct{} // closed when it is closed and its calls know

	// The reader's own.
	buf        []byte // buf[from:to] has arrived and not been handled
	from, to   int
	block      []byte // of headers that go on in further frames
	blockOf    uint32
	blockFlags byte
	allowed    int64  // what the client may still send on the connection
	scratch    []byte // for answers on the spot
	free       *stream
	heard      bool // something, since the last tick
	silent     int  // ticks without
	strikes    int  // pings that came too early
	pinged     time.Time

	mu       sync.Mutex
	last     uint32 // the newest stream; only the reader changes it, and it may read it
	begun    bool   // hands are shaken
	spoke    bool   // with an answer, since the client's last ping
	streams  map[uint32]*stream
	running  int  // calls whose handlers have not returned
	held     int  // bytes of messages that have not been handled
	draining bool // the client was told to go elsewhere
	closing  bool // and knows: there are no new calls
	hungUp   bool // all is said
	dead     bool
	idled    bool
	settling *time.Timer

	out        []byte // to be written
	spare      []byte
	writing    bool
	hasty      bool          // the time to write is set
	timed      time.Time     // when it was set last; the writer's
	room       chan struct{} // the reader waits until out is written
	window     int64         // what may be sent on the connection
	initial    int64         // and at first on a stream
	blocked    []*stream     // those with more to send than fits
	table      tableState
	emptyTable bool          // the next headers must say that the table is not used
	wanted     chan struct{} // has a value when the flusher shall flush; nil without streaming and later calls

	pongs   int         // bytes of out that answer pings
	awaited int         // calls whose Work goes on
	alarm   *time.Timer // for the first of the calls that are answered later to expire
	rings   time.Time   // when
	alarms  sync.WaitGroup
}

func newConn(s *Server, nc net.Conn) *conn {
	return &conn{
		server: s, nc: nc, headers: newHeaderReader(s),
		idle: make(chan struct{}), gone: make(chan struct{}), buf: make([]byte, readBuffer), allowed: defaultWindow, streams: map[uint32]*stream{}, window: defaultWindow, initial: defaultWindow,
	}
}

// serve reads until the connection ends, and then ends its calls.
func (c *conn) serve() {
	defer close(c.gone)
	err := c.read()
	var broken *connectionError
	said := false
	if errors.As(err, &broken) {
		c.server.cfg.Logger.Info("connection ended", zap.Stringer("client", c.nc.RemoteAddr()), zap.Error(err))
		said = c.sayWhy(broken)
	}
	c.mu.Lock()
	c.dead = true
	calls := make([]*stream, 0, len(c.streams))
	for _, s := range c.streams {
		calls = append(calls, s)
	}
	c.streams = map[uint32]*stream{}
	c.blocked = nil
	for _, s := range calls {
		s.end()
	}
	c.checkIdle()
	if c.wanted != nil {
		close(c.wanted)
		c.wanted = nil
	}
	if c.settling != nil {
		c.settling.Stop()
	}
	c.unwake()
	c.mu.Unlock()
	for _, s := range calls {
		s.stop()
	}
	c.alarms.Wait()
	if said {
		c.linger()
	}
	_ = c.nc.Close()
}

func (c *conn) read() error {
	_ = c.nc.SetDeadline(time.Now().Add(greetTime))
	first, err := c.next(len(preface))
	if err != nil {
		return err
	}
	if string(first) != preface {
		return &connectionError{codeProtocol, "not HTTP/2"}
	}
	c.mu.Lock()
	if c.draining {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.begun = true
	_ = c.nc.SetWriteDeadline(time.Time{})
	_ = c.nc.SetReadDeadline(time.Now().Add(tick))
	c.out = appendSettings(c.out,
		[2]uint32{settingMaxStreams, uint32(c.server.cfg.MaxStreams)},
		[2]uint32{settingInitialWindow, streamWindow},
		[2]uint32{settingMaxHeaderList, maxHeaderBytes})
	c.out = appendWindow(c.out, 0, connWindow-defaultWindow)
	c.mu.Unlock()
	c.allowed = connWindow
	for settled := false; ; settled = true {
		header, err := c.next(frameHeaderLen)
		if err != nil {
			return err
		}
		length := int(header[0])<<16 | int(header[1])<<8 | int(header[2])
		kind, flags, id := header[3], header[4], binary.BigEndian.Uint32(header[5:])&(1<<31-1)
		if length > maxFrame {
			return &connectionError{codeFrameSize, "frame too large"}
		}
		if !settled && kind != frameSettings {
			return &connectionError{codeProtocol, "no settings"}
		}
		payload, err := c.next(length)
		if err != nil {
			return err
		}
		if c.blockOf != 0 && (kind != frameContinuation || id != c.blockOf) {
			return &connectionError{codeProtocol, "headers interrupted"}
		}
		if err := c.frame(kind, flags, id, payload); err != nil {
			return err
		}
	}
}

// next returns the next n bytes, which are valid until the next call. Before it waits it has written what there is.
func (c *conn) next(n int) ([]byte, error) {
	for c.to-c.from < n {
		if c.from+n > len(c.buf) {
			c.to = copy(c.buf, c.buf[c.from:c.to])
			c.from = 0
		}
		if !c.holdPongs() {
			c.flush()
		}
		got, err := c.nc.Read(c.buf[c.to:])
		c.to += got
		c.heard = c.heard || got > 0
		if err != nil && c.to-c.from < n {
			if errors.Is(err, os.ErrDeadlineExceeded) && c.goesOn() {
				continue
			}
			if err == io.EOF && c.to > c.from {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	b := c.buf[c.from : c.from+n]
	if c.from += n; c.from == c.to {
		c.from, c.to = 0, 0
	}
	return b, c.unclog()
}

// unclog waits while a client that does not read has too much to be written to it. It fails when nothing can be written.
func (c *conn) unclog() error {
	c.mu.Lock()
	for len(c.out) > 2*highWater && !c.dead {
		if !c.writing {
			c.mu.Unlock()
			c.flush()
			c.mu.Lock()
			continue
		}
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		<-room // the writer, who gets an error when the connection is closed
		c.mu.Lock()
	}
	dead := c.dead
	c.mu.Unlock()
	if dead {
		return net.ErrClosed
	}
	return nil
}

func (c *conn) frame(kind, flags byte, id uint32, payload []byte) error {
	switch kind {
	case frameData:
		return c.data(flags, id, payload)
	case frameHeaders:
		block, err := unpad(flags, payload, true)
		if err != nil {
			return err
		}
		if flags&flagEndHeaders == 0 {
			c.block, c.blockOf, c.blockFlags = append(c.block[:0], block...), id, flags
			return c.checkID(id)
		}
		return c.open(flags, id, block)
	case frameContinuation:
		if c.blockOf == 0 {
			return &connectionError{codeProtocol, "continuation of nothing"}
		}
		if len(c.block)+len(payload) > maxHeaderBytes {
			return &connectionError{codeCalm, "headers are too large"}
		}
		c.block = append(c.block, payload...)
		if flags&flagEndHeaders == 0 {
			return nil
		}
		c.blockOf = 0
		return c.open(c.blockFlags, id, c.block)
	case framePriority:
		if len(payload) != 5 {
			return &connectionError{codeFrameSize, "priority"}
		}
	case frameReset:
		if len(payload) != 4 {
			return &connectionError{codeFrameSize, "reset"}
		}
		return c.reset(id)
	case frameSettings:
		return c.settings(flags, id, payload)
	case framePush:
		return &connectionError{codeProtocol, "push by a client"}
	case framePing:
		return c.ping(flags, id, payload)
	case frameWindow:
		if len(payload) != 4 {
			return &connectionError{codeFrameSize, "window"}
		}
		return c.grow(id, int64(binary.BigEndian.Uint32(payload)&maxWindow))
	}
	return nil // goaway: it will close; unknown: RFC 9113, 5.5
}

func (c *conn) checkID(id uint32) error {
	if id%2 == 0 {
		return &connectionError{codeProtocol, "headers of a stream that is not the client's"}
	}
	return nil
}
