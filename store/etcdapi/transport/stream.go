package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
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
	c.running--
	s.answered, s.failed = true, failed
	if s.gone || c.dead {
		c.checkIdle()
		return true
	}
	if failed != nil && !s.sent && len(s.pending) == 0 { // headers and trailers are one
		at := c.beginBlock(flagEndStream, s.id)
		c.appendContentType()
		c.out = appendMetadata(c.out, s.header)
		c.out = appendMetadata(appendStatus(c.out, failed), s.trailer)
		setLength(c.out[at:])
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
	c.appendContentType()
	c.out = appendMetadata(c.out, s.header)
	setLength(c.out[at:])
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
	setLength(c.out[at:])
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

// callContext is the context of a call, with what package grpc's functions look for in it.
type callContext struct {
	context.Context
	stream *stream
	once   sync.Once
	values context.Context
}

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	c.once.Do(func() {
		ctx := metadata.NewIncomingContext(context.Background(), c.stream.request.metadata())
		ctx = peer.NewContext(ctx, c.stream.conn.peer())
		c.values = grpc.NewContextWithServerTransportStream(ctx, (*unaryStream)(c.stream))
	})
	return c.values.Value(key)
}

// Call is a call as its Quick form sees it.
type Call stream

// Wait reports whether the call may wait. If not it has no context of its own.
func (c *Call) Wait() bool { return c.cancel != nil }

// Context returns the call's context, or without Wait one that never ends.
func (c *Call) Context() context.Context {
	if c.ctx == nil {
		return context.Background()
	}
	return c.ctx
}

// Header returns the first value of a header of the request, which is not a binary one.
func (c *Call) Header(name string) string {
	for _, f := range c.request.fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// unaryStream is what grpc.SetHeader and its like find in the context.
type unaryStream stream

// Method implements grpc.ServerTransportStream.
func (u *unaryStream) Method() string { return u.request.path }

// SetHeader implements grpc.ServerTransportStream.
func (u *unaryStream) SetHeader(md metadata.MD) error { return (*serverStream)(u).SetHeader(md) }

// SendHeader implements grpc.ServerTransportStream.
func (u *unaryStream) SendHeader(md metadata.MD) error { return (*serverStream)(u).SendHeader(md) }

// SetTrailer implements grpc.ServerTransportStream.
func (u *unaryStream) SetTrailer(md metadata.MD) error {
	(*serverStream)(u).SetTrailer(md)
	return nil
}

// serverStream is the handler's side of a streaming call.
type serverStream stream

// SetHeader implements grpc.ServerStream.
func (s *serverStream) SetHeader(md metadata.MD) error {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.sent {
		return status.Error(codes.Internal, "the headers are sent already")
	}
	s.header = metadata.Join(s.header, md)
	return nil
}

// SendHeader implements grpc.ServerStream.
func (s *serverStream) SendHeader(md metadata.MD) error {
	if err := s.SetHeader(md); err != nil {
		return err
	}
	s.conn.mu.Lock()
	if !s.gone {
		(*stream)(s).sendHeaders()
	}
	s.conn.mu.Unlock()
	s.conn.flush()
	return nil
}

// SetTrailer implements grpc.ServerStream.
func (s *serverStream) SetTrailer(md metadata.MD) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.trailer = metadata.Join(s.trailer, md)
}

// Context implements grpc.ServerStream.
func (s *serverStream) Context() context.Context { return s.ctx }

// SendMsg implements grpc.ServerStream. It waits while the client has much to read.
func (s *serverStream) SendMsg(message any) error {
	buffer := s.conn.server.getBuffer()
	encoded, err := encode(append(buffer, noPrefix...), message)
	if err != nil {
		return err
	}
	setPrefix(encoded)
	c := s.conn
	c.mu.Lock()
	for len(s.pending) > maxPending && !s.gone {
		if s.writable == nil {
			s.writable = make(chan struct{})
		}
		writable := s.writable
		c.mu.Unlock()
		select {
		case <-writable:
		case <-s.ctx.Done():
			return statusOf(s.ctx.Err()).Err()
		}
		c.mu.Lock()
	}
	if s.gone || c.dead {
		c.mu.Unlock()
		return status.Error(codes.Canceled, "the stream has ended")
	}
	(*stream)(s).sendHeaders()
	if size := int64(len(encoded)); len(s.pending) == 0 && size <= maxFrame && size <= s.window && size <= c.window && len(c.out) <= highWater {
		c.out = append(appendFrameHeader(c.out, int(size), frameData, 0, s.id), encoded...)
		s.window -= size
		c.window -= size
	} else {
		s.pending = append(s.pending, encoded...)
		c.pump((*stream)(s))
	}
	full := len(c.out) > highWater/8
	if !full {
		c.wantFlush()
	}
	c.mu.Unlock()
	c.server.putBuffer(encoded)
	if full {
		c.flush()
	}
	return nil
}

// RecvMsg implements grpc.ServerStream. It fails with io.EOF when the client has sent all.
func (s *serverStream) RecvMsg(into any) error {
	c := s.conn
	for {
		c.mu.Lock()
		message, rest, failed := cutMessage(s.in, c.server.cfg.MaxMessageBytes)
		if failed == nil {
			failed = s.refused
		}
		ended, gone := s.ended, s.gone
		if message != nil {
			used := len(s.in) - len(rest)
			c.held -= used
			if s.in = rest; len(rest) == 0 {
				s.in = nil
			}
			if back := int64(streamWindow) - s.allowed - int64(len(rest)); back > streamWindow/2 && !ended {
				s.allowed += back
				c.out = appendWindow(c.out, s.id, uint32(back))
			}
			if len(rest) >= prefixLen && int64(binary.BigEndian.Uint32(rest[1:])) <= int64(c.server.cfg.MaxMessageBytes) {
				(*stream)(s).allowWhole()
			}
			if len(c.out) > 0 {
				c.wantFlush()
			}
		}
		c.mu.Unlock()
		switch {
		case failed != nil:
			return failed.Err()
		case message != nil:
			return decode(message, into)
		case ended && len(rest) > 0:
			return status.Error(codes.Internal, fmt.Sprint("grpc: ", io.ErrUnexpectedEOF))
		case ended:
			return io.EOF
		case gone:
			return status.Error(codes.Canceled, "the stream has ended")
		}
		select {
		case <-s.arrival:
		case <-s.ctx.Done():
			return statusOf(s.ctx.Err()).Err()
		}
	}
}
