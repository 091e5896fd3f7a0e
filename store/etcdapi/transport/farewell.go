package transport

import (
	"crypto/tls"
	"net"
	"time"
)

const (
	// settleTime is how long a client that is told to go elsewhere may open streams because it does not know yet.
	settleTime = time.Second
	// lingerTime is how long a client that was told all may take to hang up.
	lingerTime = time.Second
)

// drain tells the client to open its calls elsewhere. Those that it has opened when it learns that are served.
func (c *conn) drain() {
	c.mu.Lock()
	if c.draining || c.dead {
		c.mu.Unlock()
		return
	}
	c.draining = true
	if !c.begun {
		c.mu.Unlock()
		abort(c.nc)
		return
	}
	c.out = appendGoAway(c.out, maxWindow, codeNone, "closing")
	c.out = append(appendFrameHeader(c.out, 8, framePing, 0, 0), farewell...)
	c.settling = time.AfterFunc(settleTime, c.settle)
	c.mu.Unlock()
	c.flush()
}

// settle is called when the client has answered that it knows, or should have: from now on calls are refused.
func (c *conn) settle() {
	c.mu.Lock()
	if c.closing || c.dead || !c.draining {
		c.mu.Unlock()
		return
	}
	c.settling.Stop()
	c.closing = true
	c.out = appendGoAway(c.out, c.last, codeNone, "closing")
	c.mu.Unlock()
	c.flush()
}

// leave ends the connection when its calls have ended. The client is to hang up first: if this side closed while
// something is on its way here, TCP would reset the connection and the client might lose answers that it has not read.
func (c *conn) leave() {
	c.drain()
	<-c.idle
	c.mu.Lock()
	if c.dead {
		c.mu.Unlock()
		return
	}
	c.hungUp = true
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	c.mu.Unlock()
	if !closeWrite(c.nc) {
		abort(c.nc)
	}
}

// sayWhy tells the client why its connection ends, and reports whether that could be written.
func (c *conn) sayWhy(broken *connectionError) bool {
	c.mu.Lock()
	c.out = appendGoAway(c.out, c.last, broken.code, broken.why)
	c.hasty = true
	_ = c.nc.SetWriteDeadline(time.Now().Add(lingerTime))
	for c.writing && !c.dead {
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		<-room
		c.mu.Lock()
	}
	c.mu.Unlock()
	c.flush()
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.dead
}

// linger reads until the client has hung up, see leave.
func (c *conn) linger() {
	if !closeWrite(c.nc) {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	for {
		if _, err := c.nc.Read(c.buf); err != nil {
			return
		}
	}
}

// closeWrite tells the other end that nothing follows, if that can be told.
func closeWrite(nc net.Conn) bool {
	half, ok := nc.(interface{ CloseWrite() error })
	return ok && half.CloseWrite() == nil
}

// abort closes a connection without a word, and without waiting for what is being written.
func abort(nc net.Conn) {
	if secured, ok := nc.(*tls.Conn); ok {
		nc = secured.NetConn()
	}
	_ = nc.Close()
}

func (c *conn) checkIdle() {
	if !c.idled && (c.dead || c.closing && len(c.streams) == 0 && c.running == 0 && len(c.out) == 0 && !c.writing) {
		c.idled = true
		close(c.idle)
	}
}
