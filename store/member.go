package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// memberTrailing is what a member keeps of Raft's log behind a snapshot, for others that are a little behind.
	memberTrailing = 10_240
	// retryDelay is how long a member waits before it tries again what failed, unless the leader changes first.
	retryDelay = 50 * time.Millisecond
	// callTimeout bounds a call to another member. What it was for is tried again.
	callTimeout = 2 * time.Second
)

// member is one of a cluster. What it proposes goes to the leader, which may be itself, again and again until its own
// state machine has run it: that tells the outcome, whoever led meanwhile, and whatever answers were lost. The state
// machine runs what has the same session and number once.
type member struct {
	*durable
	self       raft.ServerID
	addr       raft.ServerAddress
	founders   []Peer
	session    uint64
	peers      *peers
	transport  *peerTransport
	background context.Context
	cancel     context.CancelFunc
	loops      sync.WaitGroup
	entering   sync.WaitGroup // entries on their way into Raft, see enter

	reign    atomic.Uint64 // the term in which this member leads and has applied all from before; 0 if it does not
	progress signal        // the state machine has moved
	turn     signal        // another member leads, or none
	hurry    chan struct{} // followers should learn what is committed
	roster   atomic.Pointer[roster]
	notices  notices
	rounds   rounds
	sole     sole
	tender   *tender

	describing, forgetting, raising proposal // the tender's

	waiting struct {
		sync.Mutex
		closed bool
		number uint64  // of the newest command
		size   int     // of the last entry
		all    batches // those without an outcome, by number
		queue  batches // those of them that are not on their way
	}
}

// signal wakes all who wait for something to have changed.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

// next returns what will be closed by the next call of fire.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) fire() {
	s.mu.Lock()
	ch := s.ch
	s.ch = nil
	s.mu.Unlock()
	if ch != nil {
		close(ch)
	}
}

// openMember opens a member of a cluster. It does not wait for the others: what is asked of it does.
func openMember(ctx context.Context, s *Store) (_ engine, err error) {
	d, err := openDisk(ctx, s)
	if err != nil {
		return nil, err
	}
	m := &member{
		durable: d, self: raft.ServerID(s.cfg.Name), addr: raft.ServerAddress(s.cfg.addr()), founders: s.cfg.Peers,
		session: 1 + rand.Uint64N(1<<63), hurry: make(chan struct{}, 1), tender: newTender(),
	}
	m.background, m.cancel = context.WithCancel(context.Background())
	if m.notices.last, err = m.logs.LastIndex(); err != nil {
		return nil, errors.Join(err, m.logs.close())
	}
	m.logs = &noticingDisk{disk: &recentLog{disk: &edgeDisk{disk: s.metrics.timed(m.logs)}}, notices: &m.notices}
	m.failing = func() { m.progress.fire(); m.turn.fire() } // nobody waits for what will not come
	m.machine.applied, m.machine.restored = m.onApplied, m.onRestored
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	if m.peers, err = newPeers(s.cfg, &m.loops, m.failure, m.known, func() uint64 { return s.current.Load().cluster }, m); err != nil {
		close(m.done) // no loop runs
		return nil, err
	}
	m.peers.metrics = s.metrics
	m.transport = newPeerTransport(m.peers, newRaftLogger(s.cfg.Logger))
	var founders []raft.Server
	if !s.cfg.Join {
		for _, p := range s.cfg.Peers {
			founders = append(founders, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(p.Name), Address: raft.ServerAddress(p.Addr)})
		}
	}
	if err := m.start(m.transport, m.self, founders, memberTrailing); err != nil {
		close(m.done)
		return nil, err
	}
	founded, err := m.founded()
	if err != nil {
		close(m.done)
		return nil, err
	}
	m.peers.founded.Store(founded)
	m.peers.open.Store(true)
	changes := make(chan raft.Observation, 16)
	m.raft.RegisterObserver(raft.NewObserver(changes, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	}))
	m.loops.Go(m.propose)
	m.loops.Go(func() { m.watchLeader(changes) })
	m.loops.Go(m.spread)
	m.loops.Go(m.learn)
	m.loops.Go(func() { m.tender.run(m) })
	m.loops.Go(m.announce)
	if servers := m.configuration().Servers; len(servers) == 1 && servers[0].ID == m.self {
		if err := m.leadAlone(ctx); err != nil {
			return nil, err
		}
	}
	if s.cfg.Restore != nil {
		if err := m.restore(s.cfg.Restore); err != nil {
			return nil, err
		}
		m.begin() // reads go by the newest command, and the restore was none
	}
	return m, nil
}

// leadAlone stands for election now, instead of when the election time-out has passed, and waits for it.
func (m *member) leadAlone(ctx context.Context) error {
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(m.self), Addr: []byte(m.addr)}
	if err := m.transport.deliver(ctx, &raft.TimeoutNowRequest{RPCHeader: header}); err != nil {
		return err
	}
	return m.readable(ctx)
}

func (m *member) configuration() raft.Configuration {
	m.mu.Lock()
	r := m.raft
	m.mu.Unlock()
	if r == nil {
		return raft.Configuration{}
	}
	return r.GetConfiguration().Configuration()
}

// roster is what known has made of a configuration, which Raft never changes.
type roster struct {
	of    *raft.Server // its first
	peers []Peer
}

// known returns the members; it must not be changed. While this one is not among them, because it has not been told yet,
// or has of a past in which it was not there, those of the Config are too.
func (m *member) known() []Peer {
	servers := m.configuration().Servers
	if len(servers) == 0 {
		return m.founders
	}
	if r := m.roster.Load(); r != nil && r.of == &servers[0] {
		return r.peers
	}
	r := &roster{of: &servers[0]}
	for _, s := range servers {
		r.peers = append(r.peers, Peer{Name: string(s.ID), Addr: string(s.Address)})
	}
	has := func(name string) bool {
		return slices.ContainsFunc(r.peers, func(p Peer) bool { return p.Name == name })
	}
	if !has(string(m.self)) {
		for _, p := range m.founders {
			if !has(p.Name) {
				r.peers = append(r.peers, p)
			}
		}
	}
	m.roster.Store(r)
	return r.peers
}

// watchLeader follows who leads.
func (m *member) watchLeader(changes <-chan raft.Observation) {
	leads := m.raft.LeaderCh()
	last := raft.ServerID("")
	for {
		select {
		case mine := <-leads:
			m.reign.Store(0)
			if mine {
				m.begin()
			}
			m.turn.fire()
		case <-changes:
			if _, now := m.raft.LeaderWithID(); now != "" && now != last {
				last = now
				m.store.metrics.led()
			}
			m.turn.fire()
		case <-m.background.Done():
			return
		}
	}
}

// begin begins a reign: a command of the new term is committed, and so everything from before is too, and leases get
// their full time, since nobody could keep them alive while nobody led.
func (m *member) begin() {
	term := m.raft.CurrentTerm()
	if m.store.cfg.bugs.earlyReign {
		m.reign.Store(term)
		linger(true)
	}
	for m.raft.State() == raft.Leader && m.failure() == nil {
		open := command{kind: commandOpen, cluster: newClusterID()}
		if err := m.apply(encodeCommand(&open)); err == nil {
			if m.raft.CurrentTerm() == term {
				if !m.store.cfg.bugs.noFullTime {
					m.store.clerk.reset(m.store.current.Load().leases)
				}
				m.enthrone(term)
				m.turn.fire()
			}
			return
		}
		select {
		case <-time.After(retryDelay):
		case <-m.background.Done():
			return
		}
	}
}

// term implements engine.
func (m *member) term() uint64 {
	term := m.reign.Load()
	if term == 0 || m.raft.State() != raft.Leader || m.raft.CurrentTerm() != term {
		return 0
	}
	return term
}

// enter runs f, which gives Raft an entry and waits for it, unless the member is closing or has failed. Raft (v1.8.0)
// forgets to answer for entries that are on their way to the state machine when it is shut down, and so that waits
// for them. It need not wait long: without a majority, a leader steps down.
func (m *member) enter(f func() error) error {
	m.mu.Lock()
	if refused := m.refusal(); refused != nil {
		m.mu.Unlock()
		return refused
	}
	m.entering.Add(1)
	m.mu.Unlock()
	defer m.entering.Done()
	return f()
}

func (m *member) apply(entry []byte) error {
	return m.enter(func() error { return m.raft.Apply(entry, 0).Error() })
}

// spawn runs f, unless the member is closing.
func (m *member) spawn(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closing {
		m.loops.Go(f)
	}
	return !m.closing
}

func (m *member) close() error {
	if m.raft != nil && m.term() != 0 && len(m.configuration().Servers) > 1 {
		// Who leads hands over before it goes: the others need not find out.
		if err := m.raft.LeadershipTransfer().Error(); err != nil {
			m.store.cfg.Logger.Sugar().Infof("leadership could not be handed over: %v", err)
		}
	}
	m.mu.Lock()
	if m.closing {
		m.mu.Unlock()
		return nil
	}
	m.closing = true
	m.changed()
	m.mu.Unlock()
	m.nudge()
	m.entering.Wait()
	m.cancel()
	m.stop()
	if m.peers != nil {
		m.peers.close()
	}
	<-m.done
	var err error
	if stopped := m.stop(); stopped != nil {
		err = m.finished(stopped)
	}
	if m.transport != nil {
		err = errors.Join(err, m.transport.Close())
	}
	m.loops.Wait()
	return errors.Join(err, m.logs.close())
}
