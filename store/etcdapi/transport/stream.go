package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// prefixLen is what stands before each message: whether it is compressed, and its length.
const prefixLen = 5

// noPrefix keeps the place of a prefix.
const noPrefix = "\x00\x00\x00\x00\x00"

// maxPending is how much of a stream may wait for its client before SendMsg waits.
const maxPending = 64 << 10

// stream is a call. A unary one is begun when its message is there.
type stream struct {
	conn    *conn
	id      uint32
	request *request
	message []byte // of a unary call

	ctx    context.Context
	cancel context.CancelFunc // nil until begun

	// Guarded by the connection's mutex.
	in       []byte         // has arrived and was not received
	ended    bool           // by the client; the reader sets it, and it may read it
	allowed  int64          // what the client may still send
	window   int64          // what may be sent
	pending  []byte         // waits for the client's window
	whole    []byte         // the buffer that pending is of, if it goes back
	answered bool           // the handler has returned; trailers follow what is pending
	failed   *status.Status // what they say; nil for OK
	queued   bool
	gone     bool           // nothing can be sent any more
	refused  *status.Status // by the reader, for what the client has sent
	writable chan struct{}
	arrival  chan struct{} // has a value when something has arrived; nil for unary calls

	later bool      // a Later form has the call, or tries; the reader's own
	work  Work      // that is given up when the call ends
	due   time.Time // when that is at the latest
	late  bool      // by the method's limit

	sent            bool // headers
	header, trailer metadata.MD
}

// begin makes the context of a call.
func (s *stream) begin() {
	var base context.Context
	if s.request.timeout > 0 {
		base, s.cancel = context.WithTimeout(context.Background(), s.request.timeout)
	} else {
		base, s.cancel = context.WithCancel(context.Background())
	}
	s.ctx = &callContext{Context: base, stream: s}
}

// end lets nothing be sent any more. The mutex is held; stop follows without it.
func (s *stream) end() {
	s.gone = true
	s.conn.held -= len(s.in)
	s.in, s.pending, s.whole = nil, nil, nil
	s.wakeSender()
}

func (s *stream) stop() {
	if s.cancel != nil {
		s.cancel()
	}
	s.giveUp()
}

func (s *stream) wakeSender() {
	if s.writable != nil {
		close(s.writable)
		s.writable = nil
	}
}

// fail ends a streaming call because of what the client has sent.
func (s *stream) fail(why *status.Status) {
	s.conn.mu.Lock()
	if s.refused == nil {
		s.refused = why
	}
	s.conn.mu.Unlock()
	s.stop()
}

// run is the call's handler's goroutine. It returns a buffer for the next.
func (s *stream) run(scratch []byte) []byte {
	defer s.cancel()
	m := s.request.method
	if m.stream != nil {
		err := m.stream.Handler(m.service, (*serverStream)(s))
		s.conn.mu.Lock()
		if s.refused != nil {
			err = s.refused.Err()
		}
		s.conn.mu.Unlock()
		s.finish(nil, statusOf(err))
		s.conn.flush()
		return scratch
	}
	if scratch == nil {
		scratch = s.conn.server.getBuffer()
	}
	answer := append(scratch[:0], noPrefix...)
	var err error
	if done := false; m.quick != nil {
		answer, done, err = m.quick((*Call)(s), s.message, answer)
		if !done && err == nil {
			err = status.Error(codes.Internal, "the call was not done")
		}
	} else {
		answer, err = s.plain(answer)
	}
	kept := s.finish(answer, statusOf(err))
	s.conn.flush()
	if kept {
		return answer
	}
	return nil
}

// plain runs a unary method as it was generated.
func (s *stream) plain(answer []byte) ([]byte, error) {
	m := s.request.method
	reply, err := m.unary.Handler(m.service, s.ctx, func(into any) error { return decode(s.message, into) }, nil)
	if err != nil {
		return answer, err
	}
	return encode(answer, reply)
}

func decode(message []byte, into any) error {
	m, ok := into.(proto.Message)
	if !ok {
		return status.Errorf(codes.Internal, "grpc: %T is no message", into)
	}
	if err := proto.Unmarshal(message, m); err != nil {
		return status.Errorf(codes.Internal, "grpc: error unmarshalling request: %v", err)
	}
	return nil
}

// Appender is a message that encodes itself. A handler may send it instead of one of protobuf's, on a stream that
// TakesAppender.
type Appender interface {
	// AppendTo appends the encoded message.
	AppendTo(b []byte) []byte
}

// TakesAppender reports whether a stream is one of this package's.
func TakesAppender(stream grpc.ServerStream) bool {
	_, ours := stream.(*serverStream)
	return ours
}

func encode(b []byte, message any) ([]byte, error) {
	switch m := message.(type) {
	case Appender:
		return m.AppendTo(b), nil
	case proto.Message:
		return proto.MarshalOptions{}.MarshalAppend(b, m)
	}
	return b, status.Errorf(codes.Internal, "grpc: %T is no message", message)
}

// cutMessage takes the first message off b. It returns nil if it is not complete.
func cutMessage(b []byte, limit int) (message, rest []byte, failed *status.Status) {
	if len(b) < prefixLen {
		return nil, b, nil
	}
	if b[0] != 0 {
		return nil, b, status.New(codes.Unimplemented, "compressed messages are not supported")
	}
	length := int64(binary.BigEndian.Uint32(b[1:]))
	if length > int64(limit) {
		return nil, b, status.Newf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", length, limit)
	}
	if int64(len(b)) < prefixLen+length {
		return nil, b, nil
	}
	return b[prefixLen : prefixLen+length : prefixLen+length], b[prefixLen+length:], nil
}

// statusOf returns nil for no error.
func statusOf(err error) *status.Status {
	if err == nil {
		return nil
	}
	if st, ok := status.FromError(err); ok {
		return st
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err)
	}
	return status.New(codes.Unknown, err.Error())
}

// finish answers a call: with a message, if there is one, behind a place for its prefix, and a status, nil for OK. It
// reports whether answer can be used again.
func (s *stream) finish(answer []byte, failed *status.Status) (free bool) {
	c := s.conn
	if failed != nil {
		answer = nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.answered { // or its client is gone, or its time was up
		return true
	}
	s.drop()
	c.running--
	s.answered, s.failed = true, failed
	if s.gone || c.dead {
		if c.streams[s.id] == s { // s may be used again
			delete(c.streams, s.id)
			c.held -= len(s.in)
			s.in = nil
		}
		c.checkIdle()
		return true
	}
	if failed != nil && !s.sent && len(s.pending) == 0 { // headers and trailers are one
		at := c.beginBlock(flagEndStream, s.id)
		c.appendHTTPStatus(s.request.httpStatus)
		c.appendContentType()
		c.out = appendMetadata(c.out, s.header)
		c.out = appendMetadata(appendStatus(c.out, failed), s.trailer)
		c.endBlock(at)
		c.remove(s)
		return true
	}
	s.sendHeaders()
	if len(answer) > 0 {
		setPrefix(answer)
	}
	if size := int64(len(answer)); size <= maxFrame && len(s.pending) == 0 && size <= s.window && size <= c.window && len(c.out) <= highWater {
		if size > 0 {
			c.out = append(appendFrameHeader(c.out, int(size), frameData, 0, s.id), answer...)
			c.spoke = true
			s.window -= size
			c.window -= size
		}
		s.sendTrailers()
		c.remove(s)
		return true
	}
	if len(answer) > 0 {
		s.pending, s.whole = answer, answer // a unary call, so nothing is there already
	}
	c.pump(s)
	return len(answer) == 0
}

// sendHeaders adds the headers of an answer. The mutex is held.
func (s *stream) sendHeaders() {
	if s.sent {
		return
	}
	s.sent = true
	c := s.conn
	at := c.beginBlock(0, s.id)
	c.appendHTTPStatus("")
	c.appendContentType()
	c.out = appendMetadata(c.out, s.header)
	c.endBlock(at)
}

// sendTrailers adds the end of an answer. The mutex is held.
func (s *stream) sendTrailers() {
	c := s.conn
	at := c.beginBlock(flagEndStream, s.id)
	if s.failed != nil {
		c.out = appendStatus(c.out, s.failed)
	} else {
		c.appendOK()
	}
	c.out = appendMetadata(c.out, s.trailer)
	c.endBlock(at)
}

// allowWhole lets the client send all of the message that it has begun. The mutex is held.
func (s *stream) allowWhole() {
	if len(s.in) < prefixLen {
		return
	}
	if lacks := prefixLen + int64(binary.BigEndian.Uint32(s.in[1:])) - int64(len(s.in)) - s.allowed; lacks > 0 {
		s.allowed += lacks
		s.conn.out = appendWindow(s.conn.out, s.id, uint32(lacks))
	}
}

// setLength sets the length of a frame that ends with b.
func setLength(b []byte) {
	n := len(b) - frameHeaderLen
	b[0], b[1], b[2] = byte(n>>16), byte(n>>8), byte(n)
}

func setPrefix(b []byte) { binary.BigEndian.PutUint32(b[1:], uint32(len(b)-prefixLen)) }
