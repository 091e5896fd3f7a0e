package transport

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
	// prefaceTime is how long a client may take to begin.
	prefaceTime = 10 * time.Second
)

// conn is a connection. One goroutine reads it, and any writes.
type conn struct {
	server  *Server
	nc      net.Conn
	headers *headerReader
	idle    chan struct{} // closed when a draining connection has no calls any more, or the connection has ended

	// The reader's own.
	buf        []byte // buf[from:to] has arrived and not been handled
	from, to   int
	block      []byte // of headers that go on in further frames
	blockOf    uint32
	blockFlags byte
	last       uint32 // the newest stream
	allowed    int64  // what the client may still send on the connection
	scratch    []byte // for answers on the spot
	free       *stream

	mu       sync.Mutex
	streams  map[uint32]*stream
	running  int // calls whose handlers have not returned
	held     int // bytes of messages that have not been handled
	draining bool
	dead     bool
	idled    bool

	out        []byte // to be written
	spare      []byte
	writing    bool
	room       chan struct{} // the reader waits until out is written
	window     int64         // what may be sent on the connection
	initial    int64         // and at first on a stream
	blocked    []*stream     // those with more to send than fits
	table      tableState
	emptyTable bool          // the next headers must say that the table is not used
	wanted     chan struct{} // has a value when the flusher shall flush; nil without streaming and later calls

	alarm  *time.Timer // for the first of the calls that are answered later to expire
	rings  time.Time   // when
	alarms sync.WaitGroup
}

func newConn(s *Server, nc net.Conn) *conn {
	return &conn{
		server: s, nc: nc, headers: newHeaderReader(s), idle: make(chan struct{}), buf: make([]byte, readBuffer),
		allowed: defaultWindow, streams: map[uint32]*stream{}, window: defaultWindow, initial: defaultWindow,
	}
}

// serve reads until the connection ends, and then ends its calls.
func (c *conn) serve() {
	err := c.read()
	var broken *connectionError
	if errors.As(err, &broken) {
		c.server.cfg.Logger.Info("connection ended", zap.Stringer("client", c.nc.RemoteAddr()), zap.Error(err))
		c.mu.Lock()
		c.out = appendGoAway(c.out, c.last, broken.code, broken.why)
		c.mu.Unlock()
		_ = c.nc.SetWriteDeadline(time.Now().Add(time.Second))
		c.flush()
	}
	_ = c.nc.Close()
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
	c.unwake()
	c.mu.Unlock()
	for _, s := range calls {
		s.stop()
	}
	c.alarms.Wait()
}

func (c *conn) read() error {
	_ = c.nc.SetReadDeadline(time.Now().Add(prefaceTime))
	first, err := c.next(len(preface))
	if err != nil {
		return err
	}
	if string(first) != preface {
		return &connectionError{codeProtocol, "not HTTP/2"}
	}
	_ = c.nc.SetReadDeadline(time.Time{})
	c.mu.Lock()
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
		c.flush()
		got, err := c.nc.Read(c.buf[c.to:])
		c.to += got
		if err != nil && c.to-c.from < n {
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

// unclog waits while a client that does not read has too much to be written to it.
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
	c.mu.Unlock()
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
		if len(payload) != 8 || id != 0 {
			return &connectionError{codeFrameSize, "ping"}
		}
		if flags&flagAck == 0 {
			c.mu.Lock()
			c.out = append(appendFrameHeader(c.out, 8, framePing, flagAck, 0), payload...)
			c.mu.Unlock()
		}
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

// open begins a call, or ends what the client sends in one.
func (c *conn) open(flags byte, id uint32, block []byte) error {
	if err := c.checkID(id); err != nil {
		return err
	}
	r, err := c.headers.read(block)
	if err != nil {
		return err
	}
	if id <= c.last {
		c.mu.Lock()
		s := c.streams[id]
		c.mu.Unlock()
		if s == nil {
			return nil // trailers of what has been answered
		}
		if flags&flagEndStream == 0 {
			return &connectionError{codeProtocol, "trailers that do not end their stream"}
		}
		return c.arrived(s, nil, true)
	}
	c.last = id
	s := c.free
	if s != nil {
		c.free = nil
	} else {
		s = &stream{conn: c}
	}
	s.id, s.request, s.allowed = id, r, streamWindow
	c.mu.Lock()
	refuse := c.draining || c.running >= c.server.cfg.MaxStreams
	if refuse {
		c.out = appendReset(c.out, id, codeRefused)
	} else {
		c.streams[id] = s
		c.running++
		s.window = c.initial
	}
	c.mu.Unlock()
	switch {
	case refuse:
		return nil
	case r.refused != nil:
		s.ended = flags&flagEndStream != 0
		s.finish(nil, r.refused)
		return nil
	case r.method.stream != nil:
		s.arrival = make(chan struct{}, 1)
		s.begin()
		c.startFlusher()
		c.server.start(s)
	}
	if flags&flagEndStream != 0 {
		return c.arrived(s, nil, true)
	}
	return nil
}

func (c *conn) data(flags byte, id uint32, payload []byte) error {
	size := int64(len(payload))
	if c.allowed -= size; c.allowed < 0 {
		return &connectionError{codeFlowControl, "more than the connection's window"}
	}
	if c.allowed < connWindow/2 {
		c.mu.Lock()
		c.out = appendWindow(c.out, 0, uint32(connWindow-c.allowed))
		c.mu.Unlock()
		c.allowed = connWindow
	}
	content, err := unpad(flags, payload, false)
	if err != nil {
		return err
	}
	c.mu.Lock()
	s := c.streams[id]
	over := false
	if s != nil {
		s.allowed -= size
		over = s.allowed < 0
	}
	c.mu.Unlock()
	switch {
	case over:
		return &connectionError{codeFlowControl, "more than the stream's window"}
	case s != nil:
		return c.arrived(s, content, flags&flagEndStream != 0)
	case id == 0 || id > c.last:
		return &connectionError{codeProtocol, "data of no stream"}
	}
	return nil // it has been answered or reset
}

// arrived takes in a part of what the client sends in a call.
func (c *conn) arrived(s *stream, content []byte, end bool) error {
	if s.request.method.unary != nil && end && len(s.in) == 0 && !s.ended {
		s.ended = true
		c.call(s, content)
		return nil
	}
	c.mu.Lock()
	if s.ended {
		c.mu.Unlock()
		return &connectionError{codeClosed, "data after the end of its stream"}
	}
	s.in = append(s.in, content...)
	s.ended = end
	c.held += len(content)
	var failed *status.Status
	if c.held > maxHeld+c.server.cfg.MaxMessageBytes {
		failed = status.Newf(codes.ResourceExhausted, "messages of %d bytes wait on the connection", c.held)
	}
	if len(s.in) >= prefixLen {
		length := int64(binary.BigEndian.Uint32(s.in[1:]))
		if length > int64(c.server.cfg.MaxMessageBytes) {
			failed = status.Newf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", length, c.server.cfg.MaxMessageBytes)
		} else {
			s.allowWhole()
		}
	}
	unary, whole := s.request.method.unary != nil, s.in
	if unary && (end || failed != nil) {
		c.held -= len(s.in)
		s.in = nil
	}
	c.mu.Unlock()
	switch {
	case failed != nil && unary:
		s.finish(nil, failed)
	case failed != nil:
		s.fail(failed)
	case unary && end:
		c.call(s, whole)
	case !unary:
		select {
		case s.arrival <- struct{}{}:
		default:
		}
	}
	return nil
}

// call runs a unary method on content, which is all the client sends; it is valid until call returns.
func (c *conn) call(s *stream, content []byte) {
	message, rest, failed := cutMessage(content, c.server.cfg.MaxMessageBytes)
	if failed == nil && (message == nil || len(rest) > 0) {
		failed = status.New(codes.Internal, "a unary call has one message")
	}
	if failed != nil {
		s.finish(nil, failed)
		return
	}
	if c.begin(s, message) {
		return
	}
	if quick := s.request.method.quick; quick != nil {
		answer, done, err := quick((*Call)(s), message, append(c.scratch[:0], noPrefix...))
		if done {
			c.scratch = nil
			if s.finish(answer, statusOf(err)) {
				*s = stream{conn: c}
				if c.free = s; cap(answer) <= maxScratch {
					c.scratch = answer
				}
			}
			return
		}
	}
	s.message = append([]byte(nil), message...)
	s.begin()
	c.server.start(s)
}

func (c *conn) reset(id uint32) error {
	if id == 0 || id > c.last {
		return &connectionError{codeProtocol, "reset of no stream"}
	}
	c.mu.Lock()
	s := c.streams[id]
	if s != nil {
		delete(c.streams, id)
		s.end()
		if s.cancel == nil && !s.answered { // no handler has begun
			c.running--
			s.answered = s.later // what answers it now comes too late
		}
		c.checkIdle()
	}
	c.mu.Unlock()
	if s != nil {
		s.stop()
	}
	return nil
}

func (c *conn) settings(flags byte, id uint32, payload []byte) error {
	if id != 0 || len(payload)%6 != 0 {
		return &connectionError{codeFrameSize, "settings"}
	}
	if flags&flagAck != 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for ; len(payload) > 0; payload = payload[6:] {
		value := binary.BigEndian.Uint32(payload[2:])
		switch binary.BigEndian.Uint16(payload) {
		case settingTableSize:
			if value < 4096 {
				c.table, c.emptyTable = tableNone, true
			}
		case settingInitialWindow:
			if value > maxWindow {
				return &connectionError{codeFlowControl, "initial window"}
			}
			by := int64(value) - c.initial
			c.initial = int64(value)
			for _, s := range c.streams {
				if s.window += by; s.window > maxWindow {
					return &connectionError{codeFlowControl, "window"}
				}
			}
		case settingMaxFrame:
			if value < maxFrame {
				return &connectionError{codeProtocol, "frame size"}
			}
		}
	}
	c.pumpAll()
	c.out = appendFrameHeader(c.out, 0, frameSettings, flagAck, 0)
	return nil
}

func (c *conn) grow(id uint32, by int64) error {
	if by == 0 {
		return &connectionError{codeProtocol, "window grows by nothing"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if id == 0 {
		if c.window += by; c.window > maxWindow {
			return &connectionError{codeFlowControl, "window"}
		}
		c.pumpAll()
		return nil
	}
	if id > c.last {
		return &connectionError{codeProtocol, "window of no stream"}
	}
	if s := c.streams[id]; s != nil {
		if s.window += by; s.window > maxWindow {
			return &connectionError{codeFlowControl, "window"}
		}
		c.pump(s)
	}
	return nil
}

// pump sends of a stream what fits, and at last its end. The mutex is held.
func (c *conn) pump(s *stream) {
	for len(s.pending) > 0 {
		n := min(int64(len(s.pending)), maxFrame, s.window, c.window)
		if n <= 0 || len(c.out) > highWater {
			if !s.queued {
				s.queued = true
				c.blocked = append(c.blocked, s)
			}
			return
		}
		c.out = append(appendFrameHeader(c.out, int(n), frameData, 0, s.id), s.pending[:n]...)
		s.pending = s.pending[n:]
		s.window -= n
		c.window -= n
	}
	if s.whole != nil {
		c.server.putBuffer(s.whole)
		s.whole = nil
	}
	s.pending = nil
	s.wakeSender()
	if s.answered {
		s.sendTrailers()
		c.remove(s)
	}
}

// pumpAll tries those that waited, first come first served. The mutex is held.
func (c *conn) pumpAll() {
	waiting := c.blocked
	c.blocked = nil
	for i, s := range waiting {
		if len(c.out) > highWater || c.window <= 0 {
			c.blocked = append(c.blocked, waiting[i:]...)
			return
		}
		s.queued = false
		if c.streams[s.id] == s {
			c.pump(s)
		}
	}
}

// remove forgets a stream whose end has been sent. The mutex is held.
func (c *conn) remove(s *stream) {
	if c.streams[s.id] != s {
		return
	}
	delete(c.streams, s.id)
	if !s.ended {
		c.out = appendReset(c.out, s.id, codeNone)
	}
	c.checkIdle()
}

func (c *conn) checkIdle() {
	if !c.idled && (c.dead || c.draining && len(c.streams) == 0 && c.running == 0 && len(c.out) == 0 && !c.writing) {
		c.idled = true
		close(c.idle)
	}
}

// drain takes no new calls.
func (c *conn) drain() {
	c.mu.Lock()
	if !c.draining {
		c.draining = true
		c.out = appendGoAway(c.out, maxWindow, codeNone, "closing")
		c.checkIdle()
	}
	c.mu.Unlock()
	c.flush()
}

// flush writes what there is, unless somebody is at it already, who then will take this along.
func (c *conn) flush() {
	c.mu.Lock()
	if c.writing || len(c.out) == 0 {
		c.mu.Unlock()
		return
	}
	c.writing = true
	for len(c.out) > 0 {
		if len(c.out) < smallWrite && c.running > 0 {
			// Other calls may have their answers at the same time, as puts of one batch have: one write for all.
			c.mu.Unlock()
			runtime.Gosched()
			c.mu.Lock()
		}
		out := c.out
		c.out = c.spare[:0]
		c.mu.Unlock()
		_, err := c.nc.Write(out)
		c.mu.Lock()
		if c.spare = out[:0]; cap(out) > 4*highWater {
			c.spare = nil
		}
		if c.room != nil {
			close(c.room)
			c.room = nil
		}
		if err != nil {
			c.out = c.out[:0]
			_ = c.nc.SetReadDeadline(time.Now()) // the reader ends the connection
			c.dead = true
			break
		}
		c.pumpAll()
	}
	c.writing = false
	c.checkIdle()
	c.mu.Unlock()
}

// startFlusher starts the goroutine that writes for streaming calls: they would otherwise write each message alone, and
// so messages that are sent while it comes to it share a write.
func (c *conn) startFlusher() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted != nil {
		return
	}
	wanted := make(chan struct{}, 1)
	c.wanted = wanted
	c.server.all.Go(func() {
		for range wanted {
			c.flush()
		}
	})
}

// wantFlush has the flusher flush. The mutex is held.
func (c *conn) wantFlush() {
	if c.writing {
		return
	}
	select {
	case c.wanted <- struct{}{}:
	default:
	}
}

// smallWrite is what is worth waiting for more.
const smallWrite = 1 << 10

// maxHeld bounds the bytes of messages on one connection that are not complete or not read by their handlers.
const maxHeld = 64 << 20
