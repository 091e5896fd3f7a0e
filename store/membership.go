package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// Kinds of calls between members; their numbers are part of the protocol.
const (
	callPropose     byte = 1 // the proposer's applied count, an entry: 0 if it was committed
	callReadIndex   byte = 2 // the term that the asker knows: an applied count
	callConfirm     byte = 3 // a term: 0 if it stands
	noticeCommitted byte = 4 // a term, an index of it
	callMember      byte = 5 // a change of membership: what became of it
	callTell        byte = 6 // a table: a report
	callVouch       byte = 7 // a name: 0 if it is a member's
)

// Changes of membership.
const (
	memberAdd      byte = 1
	memberRemove   byte = 2
	memberTransfer byte = 3
	memberUpdate   byte = 4
)

const (
	// caughtUp is how many commands a member may be behind to be made a voter.
	caughtUp      = 500
	tendIdle      = time.Second
	tendJoining   = 100 * time.Millisecond
	memberTimeout = 10 * time.Second
)

// MemberStatus is one member of a cluster, in Status.
type MemberStatus struct {
	Peer
	// Voter says that the member counts for majorities; one that is joining does not yet. Leader says that it leads.
	Voter, Leader bool
	// ID is MemberID of its name.
	ID uint64
	// Version is the newest version of the formats that it can be with, ClientURLs are where it serves clients; 0 and
	// none until it has opened for the first time and told.
	Version    int
	ClientURLs []string
	// Known says that the rest was heard from the member within the last seconds: by the leader, which tells it to the
	// others every second.
	Known bool
	// Applied is the number of commands the member has run, Lag how many the leader then had run more.
	Applied, Lag uint64
	// Diverged says that the member's hash differed from the leader's at the same command: one of the two has data
	// that are wrong, see ErrDiverged.
	Diverged bool
	// Failure says why the member has stopped, if it has: a failed disk, say.
	Failure string
}

// AddMember has a new member join, by way of whichever member it is called on. The new one begins without a vote,
// gets what the others have, and is made a voter when it has caught up. Open it with Config.Join, before or after.
// Its name must never have been another member's: Raft's safety depends on what a member remembers. It fails with
// ErrMember, or when ctx ends.
func (s *Store) AddMember(ctx context.Context, p Peer) error {
	return s.changeMember(ctx, "add member", memberAdd, p)
}

// RemoveMember removes a member, which may be the one that leads, or is broken, or this one. Close it afterwards; its
// files are of no use any more. To replace a member, add the new one, wait for its vote, and remove the old one.
func (s *Store) RemoveMember(ctx context.Context, name string) error {
	return s.changeMember(ctx, "remove member", memberRemove, Peer{Name: name})
}

// TransferLeadership has another voter lead; an empty name leaves the choice to the one that leads now.
func (s *Store) TransferLeadership(ctx context.Context, name string) error {
	return s.changeMember(ctx, "transfer leadership", memberTransfer, Peer{Name: name})
}

// UpdateMember tells the members that one of them is at another address now. A member that is opened with another
// address for itself in Config.Peers than it had does so by itself; this is for when that can't be, such as when the
// others refuse or can't be reached from there.
func (s *Store) UpdateMember(ctx context.Context, p Peer) error {
	return s.changeMember(ctx, "update member", memberUpdate, p)
}

func (s *Store) changeMember(ctx context.Context, op string, kind byte, p Peer) error {
	m, ok := s.engine.(*member)
	if !ok {
		return &Error{Op: op, Key: p.Name, Err: fmt.Errorf("%w: the store has no name, and so can have no other members", ErrMember)}
	}
	if err := m.change(ctx, kind, p); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &Error{Op: op, Key: p.Name, Err: err}
	}
	return nil
}

// change asks the leader, again and again as leaders come and go. All changes can be repeated.
func (m *member) change(ctx context.Context, kind byte, p Peer) error {
	content := append(appendBytes([]byte{kind}, []byte(p.Name)), p.Addr...)
	for {
		turn := m.turn.next()
		if err := m.failure(); err != nil {
			return err
		}
		var err error
		done := make(chan struct{})
		if !m.spawn(func() { err = m.changeOnce(kind, p, content); close(done) }) {
			return ErrClosed
		}
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err == nil || errors.Is(err, ErrMember) || errors.Is(err, errStranger) {
			return err
		}
		if err := m.pause(ctx, turn); err != nil {
			return err
		}
	}
}

// pause waits a moment, or until another member leads.
func (m *member) pause(ctx context.Context, turn <-chan struct{}) error {
	timer := time.NewTimer(retryDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-turn:
	case <-m.background.Done():
	case <-ctx.Done():
	}
	return ctx.Err()
}

func (m *member) changeOnce(kind byte, p Peer, content []byte) error {
	_, leader := m.raft.LeaderWithID()
	switch leader {
	case "":
		return ErrNotLeader
	case m.self:
		return m.changeHere(kind, p)
	}
	answer, err := m.callLeader(leader, callMember, content, memberTimeout)
	switch {
	case err != nil:
		return err
	case len(answer) == 0:
		return ErrNotLeader
	case answer[0] == 0:
		return nil
	case answer[0] == 2:
		return fmt.Errorf("%w: %s", ErrMember, answer[1:])
	default:
		return ErrNotLeader
	}
}

// changeHere is the leader's part.
func (m *member) changeHere(kind byte, p Peer) error {
	if m.term() == 0 {
		return ErrNotLeader
	}
	servers := m.configuration().Servers
	at := slices.IndexFunc(servers, func(s raft.Server) bool { return string(s.ID) == p.Name })
	id := raft.ServerID(p.Name)
	switch kind {
	case memberAdd:
		switch {
		case p.Name == "" || p.Addr == "" || len(p.Name) > 255:
			return fmt.Errorf("%w: a member needs a name of up to 255 bytes and an address", ErrMember)
		case at >= 0 && string(servers[at].Address) == p.Addr:
			return nil
		case at >= 0:
			return fmt.Errorf("%w: there is a member of this name at %s", ErrMember, servers[at].Address)
		case len(servers) >= MaxMembers:
			return fmt.Errorf("%w: there are %d members, and more are not allowed", ErrMember, len(servers))
		case slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.Address) == p.Addr }):
			return fmt.Errorf("%w: another member is at %s", ErrMember, p.Addr)
		}
		err := m.reconfigure(func() raft.IndexFuture {
			return m.raft.AddNonvoter(id, raft.ServerAddress(p.Addr), 0, memberTimeout)
		})
		m.tender.nudge()
		return err
	case memberUpdate:
		switch {
		case p.Addr == "":
			return fmt.Errorf("%w: a member needs an address", ErrMember)
		case at < 0:
			return fmt.Errorf("%w: it is no member", ErrMember)
		case string(servers[at].Address) == p.Addr:
			return nil
		case slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.Address) == p.Addr }):
			return fmt.Errorf("%w: another member is at %s", ErrMember, p.Addr)
		}
		return m.enter(func() error {
			if servers[at].Suffrage == raft.Voter {
				return m.raft.AddVoter(id, raft.ServerAddress(p.Addr), 0, memberTimeout).Error()
			}
			return m.raft.AddNonvoter(id, raft.ServerAddress(p.Addr), 0, memberTimeout).Error()
		})
	case memberRemove:
		switch {
		case at < 0:
			return nil // it may be the second try
		case len(servers) == 1:
			return fmt.Errorf("%w: it is the only member", ErrMember)
		case id == m.self: // a leader that leaves hands over first: who follows carries on, and removes it
			if err := m.raft.LeadershipTransfer().Error(); err != nil {
				return err
			}
			return ErrNotLeader
		}
		err := m.reconfigure(func() raft.IndexFuture { return m.raft.RemoveServer(id, 0, memberTimeout) })
		m.tender.nudge()
		return err
	case memberTransfer:
		switch {
		case p.Name == "":
			return m.raft.LeadershipTransfer().Error()
		case id == m.self:
			return nil
		case at < 0 || servers[at].Suffrage != raft.Voter:
			return fmt.Errorf("%w: it is no voter", ErrMember)
		}
		return m.raft.LeadershipTransferToServer(id, servers[at].Address).Error()
	default:
		return fmt.Errorf("%w: unknown change %d", ErrMember, kind)
	}
}

// announce tells the leader when this member's address has changed. Whoever leads may not reach this member before it
// knows that, and so this one may not know who leads: all are asked.
func (m *member) announce() {
	moved := func() bool {
		servers := m.configuration().Servers
		i := slices.IndexFunc(servers, func(s raft.Server) bool { return s.ID == m.self })
		return i >= 0 && servers[i].Address != m.addr
	}
	content := append(appendBytes([]byte{memberUpdate}, []byte(m.self)), m.addr...)
	for m.background.Err() == nil && m.failure() == nil && moved() {
		turn := m.turn.next()
		if m.term() != 0 {
			if err := m.changeHere(memberUpdate, Peer{string(m.self), string(m.addr)}); errors.Is(err, ErrMember) {
				m.store.cfg.Logger.Sugar().Warnf("the members can't be told that this one is at %s: %v", m.addr, err)
				return
			}
		} else {
			for _, p := range m.known() {
				if p.Name == string(m.self) {
					continue
				}
				ctx, cancel := context.WithTimeout(m.background, callTimeout)
				answer, err := m.peers.to(p.Name).call(ctx, callMember, content)
				cancel()
				if err == nil && len(answer) > 0 && answer[0] == 2 {
					m.store.cfg.Logger.Sugar().Warnf("the members can't be told that this one is at %s: %s", m.addr, answer[1:])
					return
				}
				if err == nil && len(answer) == 1 && answer[0] == 0 {
					break
				}
			}
		}
		_ = m.pause(m.background, turn)
	}
}

// answer implements handler.
func (m *member) answer(ctx context.Context, from string, kind byte, content []byte) []byte {
	refused := []byte{1}
	m.mu.Lock()
	started := m.raft != nil
	m.mu.Unlock()
	if !started {
		return refused
	}
	if kind == callTell { // it says also that this member has stopped, and why
		return m.hear(content)
	}
	if m.failure() != nil {
		return refused
	}
	switch kind {
	case callPropose:
		if len(content) < 8 || !m.admits(binary.BigEndian.Uint64(content), content[8:]) {
			return refused
		}
		if m.apply(content[8:]) != nil {
			return refused
		}
		return []byte{0}
	case callReadIndex:
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		known := uint64(0) // which no leader's term is: releases before this one said nothing
		if len(content) == 8 {
			known = binary.BigEndian.Uint64(content)
		}
		applied, err := m.readIndex(ctx, raft.ServerID(from), known)
		if err != nil {
			return refused
		}
		return binary.BigEndian.AppendUint64(nil, applied)
	case callConfirm:
		if len(content) != 8 || binary.BigEndian.Uint64(content) != m.currentTerm() {
			return refused
		}
		return []byte{0}
	case noticeCommitted:
		if len(content) == 16 {
			m.notices.hear(from, binary.BigEndian.Uint64(content), binary.BigEndian.Uint64(content[8:]))
		}
		return nil
	case callMember:
		d := &decoder{p: content}
		change, name := d.byte(), d.bytes()
		if d.err != nil {
			return refused
		}
		err := m.changeHere(change, Peer{string(name), string(d.p)})
		switch {
		case err == nil:
			return []byte{0}
		case errors.Is(err, ErrMember):
			return append([]byte{2}, err.Error()...)
		}
		return refused
	case callVouch:
		if !slices.ContainsFunc(m.known(), func(p Peer) bool { return p.Name == string(content) }) {
			return refused
		}
		return []byte{0}
	default:
		return refused
	}
}

// quick implements handler.
func (m *member) quick(kind byte) bool {
	return kind == callConfirm || kind == callTell || kind == callVouch || kind == noticeCommitted
}

// admits looks at another member's entry before it becomes part of the log: a damaged one would stop everybody, and
// one that was long under way may hold commands of a session that has been forgotten.
func (m *member) admits(applied uint64, entry []byte) bool {
	if m.term() == 0 || applied+sessionStale < m.store.current.Load().applied {
		return false
	}
	if len(entry) > 0 && uint64(entry[0]) > m.store.current.Load().version {
		return false // it would be refused; or this member has not applied yet what raised the version
	}
	commands, err := decodeEntry(entry)
	var c command
	for _, p := range commands {
		if err == nil {
			err = c.decodeInto(p)
		}
	}
	return err == nil
}

// status implements engine.
func (m *member) status(status *Status) {
	m.durable.status(status)
	status.Durable = m.store.cfg.Dir != ""
	status.Name = string(m.self)
	_, leader := m.raft.LeaderWithID()
	status.LeaderName = string(leader)
	v := m.store.current.Load()
	self := tableRow{name: status.Name, known: true, applied: status.Applied}
	if failure := m.failure(); failure != nil {
		self.failure = failure.Error()
	}
	rows := m.rows(self)
	for _, s := range m.configuration().Servers {
		member := MemberStatus{
			Peer:  Peer{string(s.ID), string(s.Address)},
			Voter: s.Suffrage == raft.Voter, Leader: s.ID == leader, ID: MemberID(string(s.ID)),
		}
		about, _ := v.about(member.Name)
		member.Version, member.ClientURLs = int(about.version), slices.Clone(about.urls)
		row := rows[member.Name]
		member.Known, member.Applied, member.Lag, member.Diverged = row.known, row.applied, row.lag, row.diverged
		member.Failure = row.failure
		status.Members = append(status.Members, member)
	}
}
