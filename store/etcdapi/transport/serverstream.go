package transport

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

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
		c.spoke = true
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
