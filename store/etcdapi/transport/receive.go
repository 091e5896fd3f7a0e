package transport

import (
	"encoding/binary"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxHeld bounds the bytes of messages on one connection that are not complete or not read by their handlers.
const maxHeld = 64 << 20

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
	s := c.free
	if s != nil {
		c.free = nil
	} else {
		s = &stream{conn: c}
	}
	s.id, s.request, s.allowed = id, r, streamWindow
	c.mu.Lock()
	c.last = id
	// Streams that are answered and wait for the client's window hold their answers.
	refuse := c.closing || max(c.running, len(c.streams)) >= c.server.cfg.MaxStreams
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
