package store

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// tender looks after the members while this one leads: it makes voters of those that have caught up, and compares
// hashes. Its one goroutine also says what this member is.
type tender struct {
	wake chan struct{}

	mu   sync.Mutex
	seen map[string]heard
}

type heard struct {
	at           time.Time
	applied, lag uint64
	diverged     bool
}

func newTender() *tender { return &tender{wake: make(chan struct{}, 1), seen: map[string]heard{}} }

func (t *tender) nudge() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *tender) run(m *member) {
	for {
		m.describe()
		delay := tendIdle
		if m.term() != 0 && t.round(m) {
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

// round asks every member once. It reports whether one is joining.
func (t *tender) round(m *member) (joining bool) {
	m.forgetStrangers()
	ctx, cancel := context.WithTimeout(m.background, tendIdle)
	defer cancel()
	var asking sync.WaitGroup
	for _, s := range m.configuration().Servers {
		if s.ID == m.self {
			continue
		}
		joining = joining || s.Suffrage != raft.Voter
		asking.Go(func() { t.ask(ctx, m, s) })
	}
	asking.Wait()
	return joining
}

func (t *tender) ask(ctx context.Context, m *member, s raft.Server) {
	applied := m.store.current.Load().applied
	answer, err := m.peers.to(string(s.ID)).call(ctx, callTell, nil)
	if err != nil || len(answer) != 24 {
		return
	}
	now := heard{at: time.Now(), applied: binary.BigEndian.Uint64(answer)}
	if now.applied < applied {
		now.lag = applied - now.applied
	}
	at, hash := binary.BigEndian.Uint64(answer[8:]), binary.BigEndian.Uint64(answer[16:])
	t.mu.Lock()
	before := t.seen[string(s.ID)]
	t.mu.Unlock()
	now.diverged = before.diverged
	if mine, found := m.machine.hashAt(at); found && mine != hash {
		now.diverged = true
	}
	t.mu.Lock()
	t.seen[string(s.ID)] = now
	t.mu.Unlock()
	if now.diverged && !before.diverged {
		m.store.cfg.Logger.Sugar().Errorf("member %q has other data than the leader %q: their hashes after %d commands differ", s.ID, m.self, at)
	}
	if s.Suffrage != raft.Voter && !m.store.cfg.bugs.keepNonVoters && now.lag <= caughtUp && now.applied > 0 && !now.diverged {
		err := m.reconfigure(func() raft.IndexFuture { return m.raft.AddVoter(s.ID, s.Address, 0, memberTimeout) })
		if err != nil {
			m.store.cfg.Logger.Sugar().Infof("member %q could not be made a voter yet: %v", s.ID, err)
		}
	}
}
