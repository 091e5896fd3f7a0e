package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// AlarmKind says what a member is short of.
type AlarmKind uint8

const (
	// AlarmQuota says that the member refused a put, or a lease, for which Config.QuotaBytes had no room, and that no
	// room was made since.
	AlarmQuota AlarmKind = 1 << iota
	// AlarmDisk says that the member's disk has less free than Config.MinFreeBytes. While one member says so all refuse
	// to put: each keeps all data.
	AlarmDisk
)

func (k AlarmKind) String() string {
	switch k {
	case AlarmQuota:
		return "quota exceeded"
	case AlarmDisk:
		return "disk nearly full"
	default:
		return fmt.Sprintf("alarm %d", uint8(k))
	}
}

// Alarm is what a member has said that it is short of.
type Alarm struct {
	// Member is its name, empty for a store without one, and MemberID that of Member.
	Member   string
	MemberID uint64
	Kind     AlarmKind
}

// alarms returns what this member is short of.
func (s *Store) alarms() (kinds AlarmKind) {
	if full := s.full.Load(); full > 0 && s.current.Load().bytes >= full {
		kinds |= AlarmQuota
	}
	if s.space.low.Load() {
		kinds |= AlarmDisk
	}
	return kinds
}

// allAlarms returns those of all members. A member learns of the others' with a second's delay or so.
func (s *Store) allAlarms() (all []Alarm) {
	add := func(name string, kinds AlarmKind) {
		for _, kind := range []AlarmKind{AlarmQuota, AlarmDisk} {
			if kinds&kind != 0 {
				all = append(all, Alarm{name, MemberID(name), kind})
			}
		}
	}
	add(s.cfg.Name, s.alarms())
	for _, a := range s.current.Load().members {
		if a.name != s.cfg.Name {
			add(a.name, a.alarms)
		}
	}
	slices.SortStableFunc(all, func(a, b Alarm) int {
		if a.Member < b.Member {
			return -1
		} else if a.Member > b.Member {
			return 1
		}
		return 0
	})
	return all
}

// Disarm forgets this member's AlarmQuota, until it has to refuse something again. AlarmDisk goes away by itself when
// there is room, and only then.
func (s *Store) Disarm() { s.full.Store(0) }

// shortOfDisk returns whose disk is nearly full.
func (s *Store) shortOfDisk() (member string, low bool) {
	if s.space.low.Load() {
		return s.cfg.Name, true
	}
	members := s.current.Load().members
	for i := range members {
		if members[i].alarms&AlarmDisk != 0 && members[i].name != s.cfg.Name {
			return members[i].name, true
		}
	}
	return "", false
}

// limited says whether something that is put could be refused.
func (s *Store) limited() bool {
	_, low := s.shortOfDisk()
	return low || s.cfg.QuotaBytes > 0
}

// room refuses something to put before it becomes part of the log, where that is certain. Else the state machine
// decides, by the bound that the command carries.
func (s *Store) room(ctx context.Context, op string) error {
	if err := s.spare(op); err != nil || !s.crowded() {
		return err
	}
	if s.cfg.Name != "" { // this member may not have heard yet that room was made
		if _, err := s.read(ctx, op); err != nil {
			return err
		}
	}
	held, quota := s.current.Load().bytes, s.cfg.QuotaBytes
	if held <= quota {
		return nil
	}
	s.full.Store(held)
	return &Error{Op: op, Err: fmt.Errorf("%w: the store holds %d bytes, and %d are allowed", ErrQuota, held, quota)}
}

// crowded reports whether this member's newest view holds more than is allowed.
func (s *Store) crowded() bool {
	return s.cfg.QuotaBytes > 0 && s.current.Load().bytes > s.cfg.QuotaBytes
}

// spare refuses something to put while a disk is nearly full.
func (s *Store) spare(op string) error {
	if member, low := s.shortOfDisk(); low {
		where := "the disk"
		if member != s.cfg.Name {
			where = fmt.Sprintf("the disk of member %q", member)
		}
		return &Error{Op: op, Err: fmt.Errorf("%w: %w: %s has less free than is kept in reserve; deletes and compaction are allowed", ErrQuota, ErrDiskFull, where)}
	}
	return nil
}

// noteQuota takes note of what the state machine said to something that was put.
func (s *Store) noteQuota(err error) {
	if errors.Is(err, ErrQuota) {
		s.full.Store(max(1, s.current.Load().bytes))
	} else if err == nil && s.full.Load() != 0 {
		s.full.Store(0)
	}
}

// bounded returns an error if a command would make the state larger than its proposer allows. It is part of the
// command, so that all members decide alike whatever their own Config says. Only what is put counts: a transaction
// that deletes as well makes no room, since history stays until it is compacted.
func (st *state) bounded(cmd *command) result {
	var growth int64
	switch {
	case cmd.kind == commandTxn && cmd.txn == nil:
		growth = st.putSize(&cmd.put)
	case cmd.kind == commandTxn:
		may := st.allowed()
		path := st.branches(cmd.txn, nil, &may)
		if may.left < 0 {
			return result{err: errVisits}
		}
		growth = st.growth(cmd.txn, &path)
	case cmd.kind == commandGrant:
		growth = 1 // leases are not counted; there must be room all the same
	}
	if growth == 0 || st.bytes+growth <= cmd.bound {
		return result{}
	}
	return result{err: ErrQuota, key: string(cmd.put.Key)}
}

// growth is how much a transaction puts, in the branches of path.
func (st *state) growth(txn *Txn, path *[]bool) (n int64) {
	ops := txn.branch(next(path))
	for i := range ops {
		switch op := &ops[i]; {
		case op.Put != nil:
			n += st.putSize(op.Put)
		case op.Txn != nil:
			n += st.growth(op.Txn, path)
		}
	}
	return n
}

func (st *state) putSize(put *PutRequest) int64 {
	value := len(put.Value)
	if put.IgnoreValue {
		value = 0
		if current := st.current(put.Key); current != nil {
			value = len(current.Value)
		}
	}
	return int64(len(put.Key)+value) + versionOverhead
}
