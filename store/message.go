package store

import (
	"fmt"
	"io"

	"github.com/hashicorp/raft"
)

// checkMessage refuses what no member sends and what Raft (v1.8.0) panics at, or panics at whenever the log is read from
// then on: configurations that can't be decoded or have nobody to lead, entries of unknown kinds, and gaps.
func checkMessage(command any) error {
	switch c := command.(type) {
	case *raft.AppendEntriesRequest:
		for i, e := range c.Entries {
			if e == nil || e.Index != c.PrevLogEntry+1+uint64(i) {
				return fmt.Errorf("%w: entries that don't follow %d", ErrCorrupt, c.PrevLogEntry)
			}
			switch e.Type {
			case raft.LogCommand, raft.LogNoop, raft.LogBarrier:
			case raft.LogConfiguration:
				if err := checkConfiguration(e.Data); err != nil {
					return fmt.Errorf("entry %d: %w", e.Index, err)
				}
			default:
				return fmt.Errorf("%w: entry %d is of the unknown kind %d", ErrCorrupt, e.Index, e.Type)
			}
		}
	case *raft.InstallSnapshotRequest:
		if c.SnapshotVersion != raft.SnapshotVersionMax {
			return fmt.Errorf("%w: a snapshot of the unknown version %d", ErrCorrupt, c.SnapshotVersion)
		}
		return checkConfiguration(c.Configuration)
	}
	return nil
}

// checkConfiguration applies the rules that Raft applies to the configurations that it makes itself.
func checkConfiguration(p []byte) error {
	configuration, err := decodeConfiguration(p)
	if err != nil {
		return err
	}
	ids, addrs, voters := map[raft.ServerID]bool{}, map[raft.ServerAddress]bool{}, 0
	for _, s := range configuration.Servers {
		if s.ID == "" || s.Address == "" || ids[s.ID] || addrs[s.Address] {
			return fmt.Errorf("%w: a configuration with member %q at %q: names and addresses must be there and differ", ErrCorrupt, s.ID, s.Address)
		}
		ids[s.ID], addrs[s.Address] = true, true
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	if voters == 0 {
		return fmt.Errorf("%w: a configuration without a voter", ErrCorrupt)
	}
	return nil
}

// decodeConfiguration turns the panic into an error by which Raft's function says that p is no configuration.
func decodeConfiguration(p []byte) (c raft.Configuration, err error) {
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("%w: no configuration: %v", ErrCorrupt, e)
		}
	}()
	return raft.DecodeConfiguration(p), nil
}

// refuse answers a message that Raft does not get to see. What follows the message is read: the connection's next message
// comes after it.
func (t *peerTransport) refuse(rpc raft.RPC, reason error) {
	t.logger.Warn("a message of a member was refused", "error", reason)
	response := any(&raft.AppendEntriesResponse{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}})
	if rpc.Reader == nil {
		rpc.RespChan <- raft.RPCResponse{Response: response, Error: reason} // has room for it
		return
	}
	response = &raft.InstallSnapshotResponse{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}
	t.loops.Go(func() { // ends with the connection at the latest
		_, _ = io.Copy(io.Discard, rpc.Reader)
		rpc.RespChan <- raft.RPCResponse{Response: response, Error: reason}
	})
}
