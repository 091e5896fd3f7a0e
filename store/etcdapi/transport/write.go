package transport

import (
	"runtime"
	"time"
)

const (
	// smallWrite is what is worth waiting for more.
	smallWrite = 1 << 10
	// writePiece is what a client has to read in writeTime, or the connection ends.
	writePiece = 64 << 10
	writeTime  = 30 * time.Second
)

// flush writes what there is, unless somebody is at it already, who then will take this along.
func (c *conn) flush() {
	c.mu.Lock()
	if c.writing || len(c.out) == 0 {
		c.mu.Unlock()
		return
	}
	if c.dead || c.hungUp { // it would only make a reset of what is on its way
		c.out = c.out[:0]
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
		c.out, c.pongs = c.spare[:0], 0
		c.mu.Unlock()
		err := c.write(out)
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
			c.dead = true
			_ = c.nc.SetReadDeadline(time.Now()) // the reader ends the connection
			break
		}
		c.pumpAll()
	}
	c.writing = false
	c.checkIdle()
	c.mu.Unlock()
}

// write gives each piece of out its own time: a client that reads is not hurried, one that reads nothing is given up.
func (c *conn) write(out []byte) error {
	for len(out) > 0 {
		n := min(len(out), writePiece)
		if now := time.Now(); now.Sub(c.timed) > time.Second {
			c.mu.Lock()
			if !c.hasty {
				_ = c.nc.SetWriteDeadline(now.Add(writeTime))
				c.timed = now
			}
			c.mu.Unlock()
		}
		if _, err := c.nc.Write(out[:n]); err != nil {
			return err
		}
		out = out[n:]
	}
	return nil
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
