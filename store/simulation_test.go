package store_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

var (
	schedules = flag.Int("schedules", 6, "number of simulated schedules")
	firstSeed = flag.Uint64("seed", 1, "seed of the first schedule")
)

// simulation is three members in a bubble, clients, watchers, and somebody who breaks things.
type simulation struct {
	net   *simnet
	bug   store.Bug
	disks map[string]*store.MemoryDisk
	start time.Time

	mu       sync.Mutex
	members  map[string]*store.Store // nil while closed
	history  []porcupine.Operation
	acked    map[string]bool // values whose writes were acknowledged
	faults   map[string]int
	leaders  map[string]bool
	problems []string
	alive    map[int64]time.Time // leases: when each would run out, by the last keep-alive that was acknowledged
}

var simNames = []string{"a", "b", "c"}

func newSimulation(bug store.Bug) *simulation {
	sim := &simulation{
		net: newSimnet(), bug: bug, disks: map[string]*store.MemoryDisk{}, start: time.Now(), members: map[string]*store.Store{},
		acked: map[string]bool{}, faults: map[string]int{}, leaders: map[string]bool{}, alive: map[int64]time.Time{},
	}
	for _, name := range simNames {
		sim.disks[name] = &store.MemoryDisk{}
	}
	return sim
}

// open opens a member on what its disk has.
func (sim *simulation) open(ctx context.Context, name string) error {
	var peers []store.Peer
	for _, n := range simNames {
		peers = append(peers, store.Peer{Name: n, Addr: n})
	}
	cfg := store.Config{Name: name, Peers: peers, Listener: sim.net.listen(name), Dial: sim.net.dial(name), MemoryDisk: sim.disks[name], Retention: -1}
	s, err := store.Open(ctx, store.WithBug(cfg, sim.bug))
	if err == nil {
		sim.mu.Lock()
		sim.members[name] = s
		sim.mu.Unlock()
	}
	return err
}

func (sim *simulation) close(name string) error {
	s := sim.member(name)
	sim.mu.Lock()
	sim.members[name] = nil
	sim.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.Close()
}

func (sim *simulation) member(name string) *store.Store {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	return sim.members[name]
}

func (sim *simulation) problem(format string, args ...any) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.problems = append(sim.problems, fmt.Sprintf("%v: ", time.Since(sim.start))+fmt.Sprintf(format, args...))
}

func (sim *simulation) fault(name string) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.faults[name]++
}

// leader returns the member that says it leads, in the highest term, or "".
func (sim *simulation) leader(ctx context.Context) (name string) {
	term := uint64(0)
	for _, n := range simNames {
		if s := sim.member(n); s != nil {
			if status, err := s.Status(ctx); err == nil && status.Leader && status.Term > term {
				name, term = n, status.Term
			}
		}
	}
	if name != "" {
		sim.mu.Lock()
		sim.leaders[fmt.Sprint(name, term)] = true
		sim.mu.Unlock()
	}
	return name
}

// The sequential specification of one key.
type simInput struct {
	kind          string // read, write, swap
	key           string
	expect, value string
}

type simOutput struct {
	value   string
	swapped bool
	unknown bool
}

func simModel() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[string][]porcupine.Operation{}
			for _, op := range history {
				key := op.Input.(simInput).key
				byKey[key] = append(byKey[key], op)
			}
			var parts [][]porcupine.Operation
			for _, part := range byKey {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			in, out := input.(simInput), output.(simOutput)
			switch {
			case in.kind == "read":
				return out.value == state, state
			case in.kind == "write":
				return true, in.value
			case state == in.expect:
				return out.swapped || out.unknown, in.value
			default:
				return !out.swapped, state
			}
		},
	}
}

// client reads, writes and swaps, each time on any member.
func (sim *simulation) client(ctx context.Context, id int, rnd *rand.Rand) {
	known := map[string]string{}
	for i := 0; ctx.Err() == nil; i++ {
		s := sim.member(simNames[rnd.IntN(len(simNames))])
		in := simInput{kind: []string{"read", "read", "write", "swap"}[rnd.IntN(4)], key: fmt.Sprintf("k%d", rnd.IntN(3))}
		in.value, in.expect = fmt.Sprintf("%d.%d", id, i), known[in.key]
		if s != nil {
			call := time.Since(sim.start)
			opCtx, cancel := context.WithTimeout(ctx, 3*time.Second)
			out, err := sim.operate(opCtx, s, in)
			cancel()
			op := porcupine.Operation{ClientId: id, Input: in, Call: int64(call), Output: out, Return: int64(time.Since(sim.start))}
			switch {
			case err == nil:
				known[in.key] = in.value
				if in.kind == "read" || in.kind == "swap" && !out.swapped {
					known[in.key] = out.value
				}
			case in.kind == "read":
				op.ClientId = -1
			default: // it may still happen, any time
				op.Output, op.Return = simOutput{unknown: true}, math.MaxInt64
			}
			sim.mu.Lock()
			if op.ClientId >= 0 {
				sim.history = append(sim.history, op)
			}
			if err == nil && (in.kind == "write" || out.swapped) {
				sim.acked[in.value] = true
			}
			sim.mu.Unlock()
		}
		pause(ctx, time.Duration(rnd.Int64N(int64(250*time.Millisecond))))
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// operate writes two keys at a time, so that half a transaction would be seen.
func (sim *simulation) operate(ctx context.Context, s *store.Store, in simInput) (simOutput, error) {
	key, mirror := []byte(in.key), []byte("mirror/"+in.key)
	get := store.Op{Range: &store.RangeRequest{Key: key}}
	txn := store.Txn{Then: []store.Op{
		{Put: &store.PutRequest{Key: key, Value: []byte(in.value)}},
		{Put: &store.PutRequest{Key: mirror, Value: []byte(in.value)}},
	}}
	switch in.kind {
	case "read":
		kv, _, err := s.Get(ctx, key)
		return simOutput{value: string(kv.Value)}, err
	case "swap":
		same := store.Compare{Key: key, Target: store.CompareValue, Value: []byte(in.expect)}
		if in.expect == "" {
			same = store.Compare{Key: key, Target: store.CompareVersion}
		}
		txn.Compares, txn.Else = []store.Compare{same}, []store.Op{get}
	}
	res, err := s.Txn(ctx, txn)
	if err != nil {
		return simOutput{}, err
	}
	out := simOutput{swapped: in.kind == "swap" && res.Succeeded}
	if !res.Succeeded {
		if kvs := res.Responses[0].Range.KVs; len(kvs) > 0 {
			out.value = string(kvs[0].Value)
		}
	}
	return out, nil
}

// watched is what a watcher has seen: the events of each revision, in order.
type simWatched struct {
	revisions []int64
	events    map[int64]string
	moves     int
}

// watch follows all keys, and goes on at another member where one has ended.
func (sim *simulation) watch(ctx context.Context, at int, seen *simWatched) {
	for ; ctx.Err() == nil; at++ {
		s := sim.member(simNames[at%len(simNames)])
		if s == nil {
			pause(ctx, 50*time.Millisecond)
			continue
		}
		next := int64(2)
		if n := len(seen.revisions); n > 0 {
			next = seen.revisions[n-1] + 1
		}
		w, err := s.Watch(ctx, store.WatchRequest{Key: []byte{0}, End: []byte{0}, Revision: next})
		if err != nil {
			pause(ctx, 50*time.Millisecond)
			continue
		}
		seen.moves++
		for {
			batch, err := w.Next(ctx)
			if err != nil {
				if !errors.Is(err, store.ErrClosed) && ctx.Err() == nil {
					sim.problem("watch: %v", err)
				}
				break
			}
			sim.take(batch, seen)
		}
		_ = w.Close()
	}
}

// take checks order, gaps, repeats and wholeness.
func (sim *simulation) take(batch store.WatchBatch, seen *simWatched) {
	for i := 0; i < len(batch.Events); {
		revision := batch.Events[i].KV.ModRevision
		var texts []string
		for ; i < len(batch.Events) && batch.Events[i].KV.ModRevision == revision; i++ {
			e := batch.Events[i]
			texts = append(texts, fmt.Sprintf("%v %s=%s", e.Type, e.KV.Key, e.KV.Value))
			var lease int64
			if _, err := fmt.Sscanf(string(e.KV.Key), "lease/%d", &lease); err == nil && e.Type == store.EventDelete {
				sim.mu.Lock()
				end := sim.alive[lease]
				sim.mu.Unlock()
				if time.Now().Before(end) {
					sim.problem("lease %d has ended %v early", lease, time.Until(end))
				}
			}
		}
		want := int64(2)
		if n := len(seen.revisions); n > 0 {
			want = seen.revisions[n-1] + 1
		}
		if revision != want {
			sim.problem("watch: revision %d came, and %d should", revision, want)
		}
		if !strings.Contains(texts[0], "lease/") {
			value := texts[0][strings.Index(texts[0], "=")+1:]
			if len(texts) != 2 || !strings.HasSuffix(texts[1], "="+value) {
				sim.problem("watch: revision %d is not whole: %v", revision, texts)
			}
		}
		seen.revisions = append(seen.revisions, revision)
		seen.events[revision] = strings.Join(texts, " ")
	}
}

// simulate runs one schedule, and returns what was wrong.
func simulate(t *testing.T, seed uint64, bug store.Bug) (sim *simulation) {
	synctest.Test(t, func(t *testing.T) {
		sim = newSimulation(bug)
		ctx := t.Context()
		for _, name := range simNames {
			require.NoError(t, sim.open(ctx, name))
		}
		defer func() {
			for _, name := range simNames {
				require.NoError(t, sim.close(name))
			}
		}()
		running, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		var clients, watchers sync.WaitGroup
		for id := range 6 {
			clients.Go(func() { sim.client(running, id, rand.New(rand.NewPCG(seed, uint64(id)))) })
		}
		clients.Go(func() { sim.keep(running, rand.New(rand.NewPCG(seed, 100))) })
		watching, stopWatching := context.WithCancel(ctx)
		defer stopWatching()
		seen := make([]simWatched, len(simNames))
		for i := range seen {
			seen[i].events = map[int64]string{}
			watchers.Go(func() { sim.watch(watching, i, &seen[i]) })
		}
		require.NoError(t, sim.breakThings(running, rand.New(rand.NewPCG(seed, 200))))
		clients.Wait()
		sim.settle(t, seen)
		stopWatching()
		watchers.Wait()
		sim.judge(t, seen)
	})
	return sim
}

// settle waits until all members have the same, and the watchers have seen it.
func (sim *simulation) settle(t *testing.T, seen []simWatched) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	<-time.After(5 * time.Second) // the last lease ends
	for {
		statuses := map[string]bool{}
		for _, name := range simNames {
			if _, err := sim.member(name).Revision(ctx); err != nil {
				sim.problem("member %s does not come back: %v", name, err)
				return
			}
			status, err := sim.member(name).Status(ctx)
			require.NoError(t, err)
			statuses[fmt.Sprintf("applied %d hash %x revision %d bytes %d", status.Applied, status.Hash, status.Revision, status.Bytes)] = true
		}
		if len(statuses) == 1 {
			break
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			sim.problem("members differ: %v", statuses)
			return
		}
	}
	<-time.After(time.Second)
}

// judge looks at all that was seen.
func (sim *simulation) judge(t *testing.T, seen []simWatched) {
	ctx := t.Context()
	revision, err := sim.member("a").Revision(ctx)
	require.NoError(t, err)
	values := map[string]int{}
	for i := range seen {
		if n := int64(len(seen[i].revisions)); n != revision-1 {
			sim.problem("watcher %d has seen %d revisions of %d", i, n, revision-1)
		}
		for r, text := range seen[i].events {
			if text != seen[0].events[r] {
				sim.problem("watchers differ at revision %d: %q and %q", r, text, seen[0].events[r])
			}
		}
	}
	for _, text := range seen[0].events {
		if first := strings.Fields(text); strings.HasPrefix(first[1], "k") {
			values[first[1][strings.Index(first[1], "=")+1:]]++
		}
	}
	for value, times := range values {
		if times > 1 {
			sim.problem("write %s was applied %d times", value, times)
		}
	}
	for value := range sim.acked {
		if values[value] == 0 {
			sim.problem("acknowledged write %s is lost", value)
		}
	}
	for i := range sim.history {
		sim.history[i].Return = min(sim.history[i].Return, int64(time.Since(sim.start)))
	}
	if result := porcupine.CheckOperationsTimeout(simModel(), sim.history, 0); result != porcupine.Ok {
		sim.problem("the history is not linearizable: %v", result)
	}
}

// TestSimulation runs schedules; -schedules has more of them, -seed repeats one.
func TestSimulation(t *testing.T) {
	faults, acked, leaders, lost := map[string]int{}, 0, 0, 0
	for seed := *firstSeed; seed < *firstSeed+uint64(*schedules); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			sim := simulate(t, seed, "")
			require.Empty(t, sim.problems, "faults %v", sim.faults)
			require.Greater(t, len(sim.acked), 50, "too few writes were acknowledged")
			require.GreaterOrEqual(t, len(sim.leaders), 2, "no leader changed")
			t.Logf("%d operations, %d writes acknowledged, %d leaders, faults %v, %d connections lost", len(sim.history), len(sim.acked), len(sim.leaders), sim.faults, sim.net.lost)
			for fault, n := range sim.faults {
				faults[fault] += n
			}
			acked, leaders, lost = acked+len(sim.acked), leaders+len(sim.leaders), lost+sim.net.lost
		})
	}
	if *schedules >= 5 {
		require.Len(t, faults, 9, "some faults did not happen: %v", faults)
		require.Positive(t, lost, "no connection was lost with bytes in it")
	}
}

// TestSimulationCatches puts known bugs back, one at a time, and runs schedules until one of them shows. Those that need
// a rare moment have schedules of their own, in unheard_test.go.
func TestSimulationCatches(t *testing.T) {
	const enough = 50
	for _, bug := range []store.Bug{store.BugNoConfirm, store.BugRepeats} {
		t.Run(string(bug), func(t *testing.T) {
			for seed := uint64(1); seed <= enough; seed++ {
				if sim := simulate(t, seed, bug); len(sim.problems) > 0 {
					t.Logf("schedule %d: %s", seed, sim.problems[0])
					return
				}
			}
			t.Errorf("%d schedules did not show it", enough)
		})
	}
}
