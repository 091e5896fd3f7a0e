package store

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// heardLately is how old what was heard of a member may be.
const heardLately = 5 * time.Second

// tender looks after the members while this one leads: it asks each of them every second how it is, makes voters of
// those that have caught up, compares hashes, has the version raised, and tells all of them what it has learned. Its
// one goroutine also says what this member is.
type tender struct {
	wake chan struct{}
	asks []uint64 // counts of commands at which hashes are compared, from the round before; the goroutine's own

	mu    sync.Mutex
	seen  map[string]heard // while this member leads: what the others said
	table table            // while it follows: what the leader told last
}

// heard is what a member said of itself, and what the leader makes of it.
type heard struct {
	report
	at       time.Time
	lag      uint64
	diverged bool
	unready  bool   // it has been told that its version is too old
	wrong    *proof // it must stop
}

// table is what a leader tells: how all members are.
type table struct {
	at      time.Time
	term    uint64
	version uint64
	applied uint64
	asks    []uint64
	members []tableRow
	wrong   *proof // set for the member that must stop
}

type tableRow struct {
	name         string
	known        bool
	applied, lag uint64
	diverged     bool
	failure      string
}

func newTender() *tender { return &tender{wake: make(chan struct{}, 1), seen: map[string]heard{}} }

func (t *tender) nudge() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// last returns what was heard of a member.
func (t *tender) last(name string) (heard, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, found := t.seen[name]
	return h, found
}

func (t *tender) keep(name string, h heard) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen[name] = h
}

func (t *tender) run(m *member) {
	for {
		m.describe()
		delay := tendIdle
		if m.term() == 0 {
			t.rest()
		} else if t.round(m) {
			delay = tendJoining
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-t.wake:
		case <-m.background.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// rest forgets what this member heard when it led.
func (t *tender) rest() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asks = nil
	clear(t.seen)
}

// round asks every member once. It reports whether the next one should come soon, because a member is joining or must
// stop.
func (t *tender) round(m *member) (soon bool) {
	m.forgetStrangers()
	ctx, cancel := context.WithTimeout(m.background, tendIdle)
	defer cancel()
	asks := t.asks
	servers := m.configuration().Servers
	told := m.tell(servers, asks)
	reports := make([]*report, len(servers))
	var asking sync.WaitGroup
	for i, s := range servers {
		if s.ID == m.self {
			continue
		}
		soon = soon || s.Suffrage != raft.Voter
		content := told.encode(t.wrong(string(s.ID)))
		asking.Go(func() { reports[i] = t.ask(ctx, m, s, content) })
	}
	asking.Wait()
	t.asks = t.asks[:0:0]
	for _, c := range m.machine.checkpoints() {
		t.asks = append(t.asks, c.applied)
	}
	wrong := t.judge(m, servers, reports, asks)
	m.raise(time.Now())
	return soon || wrong // who must stop is told soon
}

func (t *tender) wrong(name string) *proof {
	h, _ := t.last(name)
	return h.wrong
}

// ask hears one member.
func (t *tender) ask(ctx context.Context, m *member, s raft.Server, content []byte) *report {
	answer, err := m.peers.to(string(s.ID)).call(ctx, callTell, content)
	if err != nil {
		return nil
	}
	said, err := decodeReport(answer)
	if err != nil {
		return nil
	}
	before, _ := t.last(string(s.ID))
	now := heard{report: said, at: time.Now(), diverged: before.diverged, unready: before.unready}
	if applied := m.store.current.Load().applied; said.applied < applied {
		now.lag = applied - said.applied
	}
	for _, c := range said.hashes { // in order; the newest that can be compared counts
		if mine, found := m.machine.hashAt(c.applied); found {
			now.diverged = mine != c.hash
		}
	}
	logger := m.store.cfg.Logger.Sugar()
	if now.diverged && !before.diverged {
		logger.Errorf("member %q has other data than the leader %q: their hashes differ", s.ID, m.self)
	}
	if s.Suffrage != raft.Voter && !m.store.cfg.bugs.keepNonVoters {
		unready := m.unready(s, now)
		if unready != nil && !before.unready {
			logger.Warnf("no vote for a member that joins: %v", unready)
		}
		now.unready = unready != nil
		if unready == nil && now.lag <= caughtUp && now.applied > 0 && !now.diverged && now.failure == "" {
			err := m.reconfigure(func() raft.IndexFuture { return m.raft.AddVoter(s.ID, s.Address, 0, memberTimeout) })
			if err != nil {
				logger.Infof("member %q could not be made a voter yet: %v", s.ID, err)
			}
		}
	}
	t.keep(string(s.ID), now)
	return &said
}

// tell gathers what this member, which leads, tells the others.
func (m *member) tell(servers []raft.Server, asks []uint64) table {
	v := m.store.current.Load()
	told := table{term: m.term(), version: v.version, applied: v.applied, asks: asks}
	for _, s := range servers {
		row := tableRow{name: string(s.ID), known: s.ID == m.self, applied: v.applied}
		if s.ID != m.self {
			if h, found := m.tender.last(string(s.ID)); found && time.Since(h.at) < heardLately {
				row = tableRow{string(s.ID), true, h.applied, h.lag, h.diverged, h.failure}
			}
		}
		told.members = append(told.members, row)
	}
	return told
}

// hear takes in what a leader tells, and answers.
func (m *member) hear(content []byte) []byte {
	told, err := decodeTable(content)
	if err == nil && told.term == m.raft.CurrentTerm() && m.failure() == nil {
		told.at = time.Now()
		m.tender.mu.Lock()
		m.tender.table = told
		m.tender.mu.Unlock()
		m.behind(told.version)
		m.accept(told.wrong)
	}
	said := report{
		willing: m.store.willing(), supported: m.store.cfg.supported(), applied: m.store.current.Load().applied,
		hashes: m.machine.checkpoints(),
	}
	if failure := m.failure(); failure != nil {
		said.failure = failure.Error()
	}
	for _, at := range told.asks {
		if hash, found := m.machine.hashAt(at); found {
			said.hashes = append(said.hashes, checkpoint{at, hash})
		}
	}
	return said.encode()
}

// rows returns how the members are, as far as this one knows.
func (m *member) rows(self tableRow) map[string]tableRow {
	rows := map[string]tableRow{self.name: self}
	if m.term() != 0 {
		for _, row := range m.tell(m.configuration().Servers, nil).members {
			if row.name != self.name {
				rows[row.name] = row
			}
		}
		return rows
	}
	m.tender.mu.Lock()
	told := m.tender.table
	m.tender.mu.Unlock()
	if told.at.IsZero() || time.Since(told.at) > heardLately {
		return rows
	}
	for _, row := range told.members {
		if row.name == self.name {
			self.diverged = row.diverged
			if self.applied < told.applied {
				self.lag = told.applied - self.applied
			}
			row = self
		}
		rows[row.name] = row
	}
	return rows
}
