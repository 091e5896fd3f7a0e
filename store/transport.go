package store

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// errNoPeers is what a lone member's transport answers.
var errNoPeers = errors.New("this member has no peers")

// loneTransport is the transport of a member that is its cluster's only voter. It carries one message: the TimeoutNow
// that makes it leader at once.
type loneTransport struct {
	addr raft.ServerAddress
	rpcs chan raft.RPC
}

var (
	_ raft.Transport   = (*loneTransport)(nil)
	_ raft.WithPreVote = (*loneTransport)(nil)
)

func newLoneTransport(addr raft.ServerAddress) *loneTransport {
	return &loneTransport{addr: addr, rpcs: make(chan raft.RPC, 1)}
}

// lead has the member stand for election now, instead of when the election time-out has passed.
func (t *loneTransport) lead(ctx context.Context, id raft.ServerID) error {
	answer := make(chan raft.RPCResponse, 1)
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: []byte(t.addr)}
	select {
	case t.rpcs <- raft.RPC{Command: &raft.TimeoutNowRequest{RPCHeader: header}, RespChan: answer}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case a := <-answer:
		return a.Error
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *loneTransport) Consumer() <-chan raft.RPC              { return t.rpcs }
func (t *loneTransport) LocalAddr() raft.ServerAddress          { return t.addr }
func (t *loneTransport) SetHeartbeatHandler(func(raft.RPC))     {}
func (t *loneTransport) DecodePeer(p []byte) raft.ServerAddress { return raft.ServerAddress(p) }

func (t *loneTransport) EncodePeer(_ raft.ServerID, addr raft.ServerAddress) []byte {
	return []byte(addr)
}

func (t *loneTransport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, errNoPeers
}

func (t *loneTransport) AppendEntries(raft.ServerID, raft.ServerAddress, *raft.AppendEntriesRequest, *raft.AppendEntriesResponse) error {
	return errNoPeers
}

func (t *loneTransport) RequestVote(raft.ServerID, raft.ServerAddress, *raft.RequestVoteRequest, *raft.RequestVoteResponse) error {
	return errNoPeers
}

func (t *loneTransport) RequestPreVote(raft.ServerID, raft.ServerAddress, *raft.RequestPreVoteRequest, *raft.RequestPreVoteResponse) error {
	return errNoPeers
}

func (t *loneTransport) InstallSnapshot(raft.ServerID, raft.ServerAddress, *raft.InstallSnapshotRequest, *raft.InstallSnapshotResponse, io.Reader) error {
	return errNoPeers
}

func (t *loneTransport) TimeoutNow(raft.ServerID, raft.ServerAddress, *raft.TimeoutNowRequest, *raft.TimeoutNowResponse) error {
	return errNoPeers
}

// raftTimeout bounds the reading and writing of one of Raft's messages; snapshots take as much longer as they are large.
const raftTimeout = 5 * time.Second

// peerTransport is Raft's own transport over the connections of peers. It can also give Raft messages that came
// another way.
type peerTransport struct {
	*raft.NetworkTransport
	rpcs   chan raft.RPC
	beats  chan raft.RPC // heartbeats that have arrived
	done   chan struct{}
	once   sync.Once
	loops  *sync.WaitGroup
	logger *raftLogger
}

var (
	_ raft.Transport   = (*peerTransport)(nil)
	_ raft.WithPreVote = (*peerTransport)(nil)
	_ raft.WithClose   = (*peerTransport)(nil)
)

func newPeerTransport(p *peers, logger *raftLogger) *peerTransport {
	t := &peerTransport{rpcs: make(chan raft.RPC), beats: make(chan raft.RPC), done: make(chan struct{}), loops: p.loops, logger: logger}
	t.NetworkTransport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: stream{p}, MaxPool: 3, Timeout: raftTimeout, Logger: logger, MsgpackUseNewTimeFormat: true,
		// No pipeline. Raft's (v1.8.0) can lock up for good: when its decoder ends at an answer that is no success,
		// nobody takes the next one, the sender waits for that without looking whether the decoder is there, and
		// neither replication to that follower nor Shutdown goes on. Entries hold many commands anyway.
		MaxRPCsInFlight: 1,
	})
	return t
}

// Consumer implements raft.Transport.
func (t *peerTransport) Consumer() <-chan raft.RPC { return t.rpcs }

// Close implements raft.WithClose.
func (t *peerTransport) Close() error {
	t.once.Do(func() { close(t.done) })
	return t.NetworkTransport.Close()
}

// deliver gives Raft a message, and returns when Raft has answered it.
func (t *peerTransport) deliver(ctx context.Context, message any) error {
	answer := make(chan raft.RPCResponse, 1)
	select {
	case t.rpcs <- raft.RPC{Command: message, RespChan: answer}:
	case <-ctx.Done():
		return ctx.Err()
	case <-t.done:
		return ErrClosed
	}
	select {
	case a := <-answer:
		return a.Error
	case <-ctx.Done():
		return ctx.Err()
	case <-t.done:
		return ErrClosed
	}
}
