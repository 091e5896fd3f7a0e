package transport

import (
	"time"
)

const (
	// minPing is how long a client is to wait from ping to ping while it is sent no answers: etcd's value.
	minPing = 5 * time.Second
	// maxStrikes is how many pings may come earlier; what the client is told then is what gRPC's clients look for.
	maxStrikes   = 2
	tooManyPings = "too_many_pings"

	// A client that is silent for silentTicks is asked by a ping whether it is there, and has pongTime for an answer:
	// etcd's two hours and 20 seconds. This is for clients that hang, or are behind a proxy that does not: the rest is
	// found by TCP's own probes, with which package net begins after 15 seconds.
	tick        = 15 * time.Minute
	silentTicks = 8
	pongTime    = 20 * time.Second
)

// ping answers a client's ping, and takes in its answers to this side's.
func (c *conn) ping(flags byte, id uint32, payload []byte) error {
	if id != 0 {
		return &connectionError{codeProtocol, "ping of a stream"}
	}
	if len(payload) != 8 {
		return &connectionError{codeFrameSize, "ping"}
	}
	if flags&flagAck != 0 {
		if string(payload) == farewell {
			c.settle()
		}
		return nil
	}
	now := time.Now()
	early := now.Sub(c.pinged) < minPing
	c.pinged = now
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.spoke: // gRPC's clients measure by pings how fast answers come
		c.strikes, c.spoke = 0, false
	case early:
		if c.strikes++; c.strikes > maxStrikes {
			return &connectionError{codeCalm, tooManyPings}
		}
	}
	c.out = append(appendFrameHeader(c.out, 8, framePing, flagAck, 0), payload...)
	c.pongs += frameHeaderLen + len(payload)
	return nil
}

// goesOn reports whether to read on when the time to read is over, and asks a client that has long been silent.
func (c *conn) goesOn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silent++; c.heard {
		c.silent, c.heard = 0, false
	}
	if !c.begun || c.dead || c.hungUp || c.silent > silentTicks {
		return false
	}
	wait := tick
	if c.silent == silentTicks {
		c.out = append(appendFrameHeader(c.out, 8, framePing, 0, 0), areYouThere...)
		wait = pongTime
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(wait))
	return true
}

// What this side's pings say.
const (
	areYouThere = "so quiet"
	farewell    = "farewell"
)
