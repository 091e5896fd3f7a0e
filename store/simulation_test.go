package store_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

var (
	schedules = flag.Int("schedules", 8, "number of simulated schedules")
	firstSeed = flag.Uint64("seed", 1, "seed of the first schedule; one seed repeats faults and load, and with -count differing interleavings")
)

// simulation is members in a bubble, clients, watchers, and two who break things: one the network, the disks and the
// members, the other as an operator would.
type simulation struct {
	net    *simnet
	bug    store.Bug
	seed   uint64
	start  time.Time
	stamps atomic.Int64 // moments in their real order, since the bubble's clock stands still while things happen
	ending sync.WaitGroup
	edit   func(store.Config) store.Config // of what members are opened with; nil means as it is

	mu        sync.Mutex
	names     []string // of the members, those that are closed too
	members   map[string]*store.Store
	disks     map[string]*store.SimDisk
	old       []*store.SimDisk // of members that were removed
	history   []porcupine.Operation
	records   []*simRecord
	trace     []string
	faults    map[string]int
	leaders   map[uint64]string // by term
	terms     map[string]uint64 // the highest that a member told
	problems  []string
	alive     map[int64]time.Time // leases: when each would run out, by the last keep-alive that was acknowledged
	freed     map[string]int64    // keys that outlived their lease, and since which revision
	compacted map[int64]bool      // revisions at which somebody had history compacted
	events    map[int64][]store.Event
	known     int64 // all revisions up to it are in events
	installed int   // snapshots that a member was sent
}

var simNames = []string{"a", "b", "c"}

func newSimulation(bug store.Bug) *simulation { return newSeededSimulation(0, bug) }

func newSeededSimulation(seed uint64, bug store.Bug) *simulation {
	sim := &simulation{
		net: newSimnet(), bug: bug, seed: seed, start: time.Now(), names: slices.Clone(simNames), members: map[string]*store.Store{},
		disks: map[string]*store.SimDisk{}, faults: map[string]int{}, leaders: map[uint64]string{}, terms: map[string]uint64{},
		alive: map[int64]time.Time{}, freed: map[string]int64{}, compacted: map[int64]bool{}, events: map[int64][]store.Event{}, known: 1,
	}
	return sim
}

// config returns what a member is opened with. Schedules differ in how they batch and when they take snapshots.
func (sim *simulation) config(name string) store.Config {
	sim.mu.Lock()
	disk := sim.disks[name]
	if disk == nil {
		slow := time.Duration(0)
		if sim.seed > 0 {
			slow = 3 * time.Millisecond
		}
		disk = store.NewSimDisk(sim.seed, slow)
		disk.SkipsSync, disk.ForgetsVote = sim.bug == store.BugSkipsSync, sim.bug == store.BugForgetsVote
		sim.disks[name] = disk
	}
	sim.mu.Unlock()
	cfg := store.Config{Name: name, Listener: sim.net.listen(name), Dial: sim.net.dial(name), Retention: -1}
	if sim.seed%4 == 1 {
		cfg.MaxBatchBytes = 1
	}
	if sim.seed > 0 && sim.seed%3 > 0 {
		cfg.SnapshotEntries = 64
	}
	if sim.seed > 0 {
		cfg.Logger = zap.New(simLogger{zapcore.DebugLevel, sim, name})
	}
	cfg = store.WithBug(disk.Config(cfg), sim.bug)
	if sim.edit != nil {
		cfg = sim.edit(cfg)
	}
	return cfg
}

// open opens a member on what its disk has.
func (sim *simulation) open(ctx context.Context, name string) error {
	cfg := sim.config(name)
	if slices.Contains(simNames, name) {
		for _, n := range simNames {
			cfg.Peers = append(cfg.Peers, store.Peer{Name: n, Addr: n})
		}
		return sim.openWith(ctx, cfg)
	}
	return sim.join(ctx, name)
}

// join opens a member that others have added or will add.
func (sim *simulation) join(ctx context.Context, name string) error {
	cfg := sim.config(name)
	cfg.Join, cfg.Peers = true, []store.Peer{{Name: name, Addr: name}}
	for _, n := range sim.all() {
		if n != name {
			cfg.Peers = append(cfg.Peers, store.Peer{Name: n, Addr: n})
		}
	}
	return sim.openWith(ctx, cfg)
}

func (sim *simulation) openWith(ctx context.Context, cfg store.Config) error {
	s, err := store.Open(ctx, cfg)
	if err != nil {
		return err
	}
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.members[cfg.Name] = s
	if !slices.Contains(sim.names, cfg.Name) {
		sim.names = append(sim.names, cfg.Name)
	}
	return nil
}

func (sim *simulation) close(name string) error {
	s := sim.take(name)
	if s == nil {
		return nil
	}
	return s.Close()
}

// take returns a member and forgets that it is open.
func (sim *simulation) take(name string) *store.Store {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	s := sim.members[name]
	sim.members[name] = nil
	return s
}

// crash takes the power from a member: nobody hears of it again, and what it had not synced may be lost. It reports
// whether the member was open.
func (sim *simulation) crash(name string) bool {
	s := sim.take(name)
	if s == nil {
		return false
	}
	sim.net.cut(name)
	sim.disk(name).Crash()
	sim.ending.Go(func() { _ = s.Close() }) // what is left of it in this process
	return true
}

func (sim *simulation) disk(name string) *store.SimDisk {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	return sim.disks[name]
}

func (sim *simulation) member(name string) *store.Store {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	return sim.members[name]
}

// all returns the names of the members.
func (sim *simulation) all() []string {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	return slices.Clone(sim.names)
}

// any returns one of the members; nil if that one is closed.
func (sim *simulation) any(rnd *rand.Rand) (string, *store.Store) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	name := sim.names[rnd.IntN(len(sim.names))]
	return name, sim.members[name]
}

func (sim *simulation) stamp() int64 { return sim.stamps.Add(1) }

func (sim *simulation) note(format string, args ...any) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.trace = append(sim.trace, fmt.Sprintf("%10v %s", time.Since(sim.start).Round(time.Millisecond), fmt.Sprintf(format, args...)))
}

func (sim *simulation) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	sim.note("PROBLEM %s", text)
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.problems = append(sim.problems, fmt.Sprintf("%v: %s", time.Since(sim.start), text))
}

func (sim *simulation) failed() bool {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	return len(sim.problems) > 0
}

func (sim *simulation) fault(name, detail string) {
	sim.note("%s %s", name, detail)
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.faults[name]++
}

// leader returns the member that says it leads, in the highest term, or "". On the way it looks at all of them.
func (sim *simulation) leader(ctx context.Context) (name string) {
	term := uint64(0)
	for _, n := range sim.all() {
		s := sim.member(n)
		if s == nil {
			continue
		}
		sim.mu.Lock()
		before := sim.terms[n]
		sim.mu.Unlock()
		// Who leads in the second answer, at the term of the first, leads in that term.
		first, err := s.Status(ctx)
		if err != nil {
			continue
		}
		second, err := s.Status(ctx)
		if err != nil {
			continue
		}
		if sim.member(n) != s {
			continue // its power has gone: nobody hears what it says
		}
		if first.Term < before {
			sim.problem("the term of member %s fell from %d to %d", n, before, first.Term)
		}
		for _, m := range second.Members {
			if m.Diverged {
				sim.problem("member %s is told to have diverged", m.Name)
			}
		}
		sim.mu.Lock()
		sim.terms[n] = max(sim.terms[n], first.Term)
		two := ""
		if second.Leader && first.Term == second.Term {
			if two = sim.leaders[second.Term]; two == n {
				two = ""
			}
			sim.leaders[second.Term] = n
		}
		sim.mu.Unlock()
		if two != "" {
			sim.problem("%s and %s both lead in term %d", two, n, second.Term)
		}
		if second.Leader && second.Term > term {
			name, term = n, second.Term
		}
	}
	return name
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// simLogger is a log that nobody keeps, but for what tells of faults.
type simLogger struct {
	zapcore.LevelEnabler
	sim  *simulation
	name string
}

func (l simLogger) With([]zapcore.Field) zapcore.Core { return l }
func (l simLogger) Sync() error                       { return nil }

func (l simLogger) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if entry.Level >= zapcore.WarnLevel || entry.Message == "Installed remote snapshot" {
		return checked.AddCore(entry, l)
	}
	return checked
}

func (l simLogger) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	with := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(with)
	}
	l.sim.note("log of %s: %s %v", l.name, entry.Message, with.Fields)
	if entry.Message == "Installed remote snapshot" {
		l.sim.mu.Lock()
		l.sim.installed++
		l.sim.mu.Unlock()
	}
	return nil
}

// simulate runs one schedule, and returns what was wrong.
func simulate(t *testing.T, seed uint64, bug store.Bug) (sim *simulation) {
	synctest.Test(t, func(t *testing.T) {
		sim = newSeededSimulation(seed, bug)
		ctx := t.Context()
		defer func() {
			for _, name := range sim.all() {
				if err := sim.close(name); err != nil {
					sim.problem("close %s: %v", name, err)
				}
			}
			sim.ending.Wait()
		}()
		for _, name := range simNames {
			if err := sim.open(ctx, name); err != nil {
				sim.problem("open %s: %v", name, err)
				return
			}
		}
		random := func(who uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, who)) }
		running, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		var clients, watchers sync.WaitGroup
		for id := range 5 {
			clients.Go(func() { sim.registers(running, id, random(uint64(id))) })
		}
		for id := 10; id < 12; id++ {
			clients.Go(func() { sim.accounts(running, id, random(uint64(id))) })
		}
		for id := 20; id < 23; id++ {
			clients.Go(func() { sim.mixture(running, id, random(uint64(id))) })
		}
		for id := range int64(2) {
			clients.Go(func() { sim.keep(running, id, random(100+uint64(id))) })
		}
		clients.Go(func() { sim.sample(running, random(120)) })
		watching, stopWatching := context.WithCancel(ctx)
		defer stopWatching()
		seen := make([]simWatched, 3)
		for i := range seen {
			seen[i] = simWatched{id: i, next: 2}
			watchers.Go(func() { sim.watch(watching, &seen[i], random(130+uint64(i))) })
		}
		clients.Go(func() { sim.operate(running, random(210)) })
		sim.breakThings(running, random(200))
		clients.Wait()
		if sim.settle(ctx) {
			sim.watched(ctx, seen)
		}
		stopWatching()
		watchers.Wait()
		sim.judge(ctx)
	})
	return sim
}

// settle waits until all members have the same and no lease is left.
func (sim *simulation) settle(ctx context.Context) (settled bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	pause(ctx, 5*time.Second) // the last lease ends
	for {
		statuses := map[string][]string{}
		for _, name := range sim.all() {
			s := sim.member(name)
			if s == nil {
				sim.problem("member %s is not open at the end", name)
				return false
			}
			if _, err := s.Revision(ctx); err != nil {
				sim.problem("member %s does not come back: %v", name, err)
				return false
			}
			status, err := s.Status(ctx)
			if err != nil {
				sim.problem("status of %s: %v", name, err)
				return false
			}
			text := fmt.Sprintf("applied %d hash %x revision %d bytes %d keys %d leases %d", status.Applied, status.Hash, status.Revision, status.Bytes, status.Keys, status.Leases)
			statuses[text] = append(statuses[text], name)
			if status.Leases > 0 {
				statuses["leases are left"] = nil
			}
		}
		sim.leader(ctx)
		if len(statuses) == 1 {
			return true
		}
		pause(ctx, 100*time.Millisecond)
		if ctx.Err() != nil {
			sim.problem("members differ: %v", statuses)
			return false
		}
	}
}

// simTotals adds up what schedules did.
type simTotals struct {
	mu                                                                            sync.Mutex
	schedules, operations, acked, leaders, lostConns, late, undone, syncs, events int
	installed, compactions                                                        int
	faults                                                                        map[string]int
}

func (n *simTotals) add(sim *simulation) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.schedules++
	n.operations += len(sim.records)
	n.acked += sim.acknowledged()
	n.leaders += len(sim.leaders)
	n.lostConns += sim.net.lost
	n.late += sim.net.late
	n.events += len(sim.events)
	n.installed += sim.installed
	n.compactions += len(sim.compacted)
	for _, d := range sim.old {
		lost, caught := d.Counts()
		n.undone, n.syncs = n.undone+lost, n.syncs+caught
	}
	for _, d := range sim.disks {
		lost, caught := d.Counts()
		n.undone, n.syncs = n.undone+lost, n.syncs+caught
	}
	for fault, times := range sim.faults {
		n.faults[fault] += times
	}
}

// TestSimulation runs schedules; -schedules has more of them, -seed repeats one.
func TestSimulation(t *testing.T) {
	totals := &simTotals{faults: map[string]int{}}
	began := time.Now()
	t.Run("schedule", func(t *testing.T) {
		for seed := *firstSeed; seed < *firstSeed+uint64(*schedules); seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				sim := simulate(t, seed, "")
				if len(sim.problems) > 0 {
					t.Fatalf("%s\n%d problems; history and faults are in %s\nthe same faults and load again: go test ./store -run 'TestSimulation$' -schedules 1 -seed %d -count 20",
						sim.problems[0], len(sim.problems), sim.dump(t), seed)
				}
				require.Positive(t, sim.acknowledged(), "no write was acknowledged")
				totals.add(sim)
			})
		}
	})
	text := totals.String(time.Since(began))
	t.Log(text)
	if *schedules >= 8 && !t.Failed() { // chance can't leave so much out
		require.Greater(t, len(totals.faults), len(simFaults)/2, "too few faults happened: %s", text)
		require.Greater(t, totals.acked, 100*totals.schedules, "too few writes were acknowledged: %s", text)
		require.Greater(t, totals.leaders, 2*totals.schedules, "too few leaders changed: %s", text)
	}
	if *schedules >= 100 && !t.Failed() { // in fewer, chance may leave some out
		for _, fault := range simFaults {
			require.Positive(t, totals.faults[fault], "%s never happened: %s", fault, text)
		}
		for what, n := range map[string]int{
			"connection lost with bytes in it": totals.lostConns, "write delayed": totals.late, "write undone by a crash": totals.undone,
			"sync met a fault": totals.syncs, "snapshot sent": totals.installed, "compaction": totals.compactions,
		} {
			require.Positive(t, n, "no %s: %s", what, text)
		}
	}
	if *reliability != "" && !t.Failed() {
		require.NoError(t, renew(*reliability, "figures", text))
	}
}

func (n *simTotals) String(took time.Duration) string {
	text := fmt.Sprintf("%d schedules of 60 virtual seconds in %v: %d operations, %d writes acknowledged, %d revisions watched by three watchers each, "+
		"%d reigns, %d snapshots sent, %d compactions, %d connections lost with bytes in them, %d writes delayed on the way, "+
		"%d writes to disk undone by power cuts, %d syncs that hung, failed or were cut.\n\nFaults:", n.schedules, took.Round(time.Second), n.operations, n.acked,
		n.events, n.leaders, n.installed, n.compactions, n.lostConns, n.late, n.undone, n.syncs)
	for i, fault := range simFaults {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf(" %s %d", fault, n.faults[fault])
	}
	return text + "."
}

// dump writes all that is known of a schedule to a file, and returns its name.
func (sim *simulation) dump(t *testing.T) string {
	file, err := os.CreateTemp("", fmt.Sprintf("keelson-simulation-%d-*.txt", sim.seed))
	require.NoError(t, err)
	defer file.Close()
	fmt.Fprintf(file, "seed %d, bug %q\n\nproblems:\n", sim.seed, sim.bug)
	for _, p := range sim.problems {
		fmt.Fprintln(file, p)
	}
	fmt.Fprintf(file, "\nfaults and logs:\n")
	for _, line := range sim.trace {
		fmt.Fprintln(file, line)
	}
	fmt.Fprintf(file, "\noperations, by the moment of their call:\n")
	slices.SortFunc(sim.records, func(a, b *simRecord) int { return int(a.call - b.call) })
	for _, r := range sim.records {
		fmt.Fprintln(file, r)
	}
	fmt.Fprintf(file, "\nrevisions:\n")
	for revision := int64(2); revision <= sim.known; revision++ {
		fmt.Fprintf(file, "%d %s\n", revision, describeEvents(sim.events[revision]))
	}
	return file.Name()
}
