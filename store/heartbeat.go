package store

import "github.com/hashicorp/raft"

// Raft (v1.8.0) answers heartbeats beside its main loop, so that a leader hears of a follower whose loop waits for its
// disk. But what answers them sets the term as the loop does, and nothing keeps the two apart: a heartbeat of term 10
// that comes while the loop goes from 9 to 11, or stands for election in 11, can leave the member at 10, in memory and on
// its disk, when it has voted in 11. It would stand in 11 itself then, with a second vote, and take entries of term 10.
//
// Therefore heartbeats go through the loop, like every message. They go beside it only while the loop is inside another
// message of the same term, which is when it waits for its disk or for a snapshot: both then set that term or none.

// SetHeartbeatHandler implements raft.Transport. Raft calls it once, before it consumes messages.
func (t *peerTransport) SetHeartbeatHandler(beside func(raft.RPC)) {
	t.NetworkTransport.SetHeartbeatHandler(t.heartbeat)
	t.loops.Go(func() { t.relay(beside) })
}

// heartbeat takes a heartbeat. The answer comes when the transport is not closed before.
func (t *peerTransport) heartbeat(beat raft.RPC) {
	select {
	case t.beats <- beat:
	case <-t.done:
	}
}

// relay gives Raft's loop one message after the other until the transport is closed.
func (t *peerTransport) relay(beside func(raft.RPC)) {
	var later []raft.RPC // heartbeats that came meanwhile; one for each connection at most
	for {
		var rpc raft.RPC
		if len(later) > 0 {
			rpc, later = later[0], later[1:]
		} else {
			select {
			case rpc = <-t.NetworkTransport.Consumer():
				if err := checkMessage(rpc.Command); err != nil {
					t.refuse(rpc, err)
					continue
				}
			case rpc = <-t.beats:
			case <-t.done:
				return
			}
		}
		answer := make(chan raft.RPCResponse) // without room: the loop is inside the message until it is taken here
		select {
		case t.rpcs <- raft.RPC{Command: rpc.Command, Reader: rpc.Reader, RespChan: answer}:
		case <-t.done:
			return
		}
		term := messageTerm(rpc.Command)
		for inside := true; inside; {
			select {
			case a := <-answer:
				rpc.RespChan <- a // has room for it
				inside = false
			case beat := <-t.beats:
				if term != 0 && messageTerm(beat.Command) == term {
					beside(beat)
				} else {
					later = append(later, beat)
				}
			case <-t.done:
				go func() { <-answer }() // the loop gets rid of it, if it is not held up for ever
				return
			}
		}
	}
}

// messageTerm returns the term of a leader's message; 0 for others.
func messageTerm(command any) uint64 {
	switch c := command.(type) {
	case *raft.AppendEntriesRequest:
		return c.Term
	case *raft.InstallSnapshotRequest:
		return c.Term
	}
	return 0
}
