package transport

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

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
