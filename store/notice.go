package store

import (
	"encoding/binary"
	"sync"

	"github.com/hashicorp/raft"
)

// notices is what this member heard last of what is committed.
type notices struct {
	heard, stored signal

	mu          sync.Mutex
	from        string
	term, index uint64
	last        uint64 // the newest entry on this member's disk, or one that was
}

// noticingDisk tells when entries have been written.
type noticingDisk struct {
	disk
	notices *notices
}

func (d *noticingDisk) StoreLog(entry *raft.Log) error { return d.StoreLogs([]*raft.Log{entry}) }

func (d *noticingDisk) StoreLogs(entries []*raft.Log) error {
	if err := d.disk.StoreLogs(entries); err != nil {
		return err
	}
	d.notices.mu.Lock()
	d.notices.last = entries[len(entries)-1].Index
	d.notices.mu.Unlock()
	d.notices.stored.fire()
	return nil
}

// spread tells followers what is committed as soon as it is. Raft does it with the entries that come next, or after
// up to a tenth of a second: too long for who waits for a write on a follower, or reads there.
func (m *member) spread() {
	for {
		select {
		case <-m.hurry:
		case <-m.background.Done():
			return
		}
		index := m.raft.CommitIndex() // before the term: it must not be one that a later leader has committed
		term := m.term()
		if term == 0 {
			continue
		}
		notice := binary.BigEndian.AppendUint64(nil, term)
		notice = binary.BigEndian.AppendUint64(notice, index)
		for _, p := range m.known() {
			if p.Name == string(m.self) {
				continue
			}
			m.peers.to(p.Name).notify(noticeCommitted, notice)
		}
	}
}

// hear takes a leader's notice in. The newest counts.
func (n *notices) hear(from string, term, index uint64) {
	n.mu.Lock()
	n.from, n.term, n.index = from, term, index
	n.mu.Unlock()
	n.heard.fire()
}

func (n *notices) newest() (from string, term, index uint64, stored bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.from, n.term, n.index, n.last >= n.index
}

// learn gives Raft the leader's notices, each as what it is: a message of Raft's that appends nothing after an entry
// of the leader's own term and says that this one is committed. A notice that is here before its entry waits for it.
func (m *member) learn() {
	for {
		heard, entries := m.notices.heard.next(), m.notices.stored.next()
		from, term, index, stored := m.notices.newest()
		if stored && m.raft.CommitIndex() < index {
			if sender, err := m.peers.find(func(p Peer) bool { return p.Name == from }); err == nil {
				header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(sender.Name), Addr: []byte(sender.Addr)}
				_ = m.transport.deliver(m.background, &raft.AppendEntriesRequest{ // Raft's next message tells it too
					RPCHeader: header, Term: term, PrevLogEntry: index, PrevLogTerm: term, LeaderCommitIndex: index,
				})
			}
		}
		select {
		case <-heard:
		case <-entries:
		case <-m.background.Done():
			return
		}
	}
}
