package transport

import (
	"encoding/binary"
)

func (c *conn) settings(flags byte, id uint32, payload []byte) error {
	if id != 0 {
		return &connectionError{codeProtocol, "settings of a stream"}
	}
	if len(payload)%6 != 0 || flags&flagAck != 0 && len(payload) > 0 {
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
		c.spoke = true
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

// remove forgets a stream whose end has been sent, and what its handler did not receive. The mutex is held.
func (c *conn) remove(s *stream) {
	if c.streams[s.id] != s {
		return
	}
	delete(c.streams, s.id)
	c.held -= len(s.in)
	s.in = nil
	if !s.ended {
		c.out = appendReset(c.out, s.id, codeNone)
	}
	c.checkIdle()
}
