package wal

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/keelson-dev/keelson/store/internal/fault"
	"github.com/stretchr/testify/require"
)

var (
	crashSeeds = flag.Uint64("crash.seeds", 300, "number of schedules of power cuts")
	crashSeed  = flag.Uint64("crash.seed", 0, "the first of them")
)

// model is what a log should hold.
type model struct {
	first, next uint64
	entries     map[uint64]string
	keys        map[string]string
}

func newModel() model { return model{1, 1, map[uint64]string{}, map[string]string{}} }

func (m model) clone() model {
	m.entries, m.keys = maps.Clone(m.entries), maps.Clone(m.keys)
	return m
}

// step is one call, and what it does to the model.
type step struct {
	call func(*Log) error
	do   func(*model)
}

// randomStep makes one up, with contents that no other has.
func randomStep(rnd *rand.Rand, m model, serial uint64) step {
	if rnd.IntN(40) == 0 {
		return step{func(l *Log) error { return l.compact(context.Background()) }, func(*model) {}}
	}
	switch n := rnd.IntN(10); {
	case n < 6 || n < 8 && m.first == m.next:
		from := m.next
		if rnd.IntN(25) == 0 {
			from += 1 + rnd.Uint64N(50)
		}
		var entries []*raft.Log
		for i := range 1 + rnd.Uint64N(5) {
			size := rnd.IntN(1 << (3 + rnd.IntN(9)))
			data := fmt.Appendf(make([]byte, 0, size+20), "%d/%d ", serial, i)
			for len(data) < size {
				data = append(data, byte(rnd.Uint32()))
			}
			entries = append(entries, &raft.Log{Index: from + i, Term: serial, Data: data})
		}
		return step{func(l *Log) error { return l.StoreLogs(entries) }, func(m *model) {
			if m.first == m.next || from > m.next {
				clear(m.entries)
				m.first = from
			}
			for _, e := range entries {
				m.entries[e.Index] = string(e.Data)
			}
			m.next = from + uint64(len(entries))
		}}
	case n < 7:
		last := m.first + rnd.Uint64N(m.next-m.first)
		return step{func(l *Log) error { return l.DeleteRange(m.first, last) }, func(m *model) {
			for i := m.first; i <= last; i++ {
				delete(m.entries, i)
			}
			m.first = last + 1
		}}
	case n < 8:
		from := m.first + rnd.Uint64N(m.next-m.first)
		if from == m.first {
			from = m.next - 1
		}
		return step{func(l *Log) error { return l.DeleteRange(from, m.next-1) }, func(m *model) {
			for i := from; i < m.next; i++ {
				delete(m.entries, i)
			}
			m.next = from
		}}
	default:
		key, value := fmt.Sprint("key", rnd.IntN(3)), fmt.Sprint(serial)
		return step{func(l *Log) error { return l.Set([]byte(key), []byte(value)) }, func(m *model) { m.keys[key] = value }}
	}
}

// differs says how a log differs from the model; nil if it does not.
func (m model) differs(l *Log) error {
	first, err := l.FirstIndex()
	if err != nil {
		return err
	}
	last, err := l.LastIndex()
	if err != nil {
		return err
	}
	if m.first == m.next {
		if first != 0 || last != 0 {
			return fmt.Errorf("it has entries %d to %d and should have none", first, last)
		}
	} else if first != m.first || last != m.next-1 {
		return fmt.Errorf("it has entries %d to %d and should have %d to %d", first, last, m.first, m.next-1)
	}
	for i, want := range m.entries {
		var e raft.Log
		if err := l.GetLog(i, &e); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if string(e.Data) != want || e.Index != i {
			return fmt.Errorf("entry %d is another one", i)
		}
	}
	got := map[string]string{}
	for k := range l.state.keys {
		value, err := l.Get([]byte(k))
		if err != nil {
			return err
		}
		got[k] = string(value)
	}
	if !maps.Equal(got, m.keys) {
		return fmt.Errorf("it has keys %v and should have %v", got, m.keys)
	}
	return nil
}

// tally is what happened, so that a test can tell that it tested something.
type tally struct {
	loss
	cuts, kills, inOpen, inClose, closed, lacked, had, rolled, noticed, forgotten int
}

// powerCuts works on one log through several power cuts and deaths of the process, each at any call, that of opening it included. It returns an
// error when something that was acknowledged is missing, or there is something that should not be.
func powerCuts(seed uint64, lies bool, bugs bugs, count *tally) error {
	rnd := rand.New(rand.NewPCG(seed, 99))
	disk, before := newMemory(), newModel()
	after := before // if what was under way at the cut was done
	for serial, generation := uint64(1), 0; generation < 12; generation++ {
		disk.calls, disk.crashAt = 0, 1+rnd.IntN(1<<(1+rnd.IntN(8)))
		disk.lies = lies
		l := newLog(disk, "disk", 4<<10)
		l.bugs = bugs
		err := l.open()
		if err != nil && !errors.Is(err, errCrashed) {
			return fmt.Errorf("generation %d: %w", generation, err)
		}
		if err != nil {
			count.inOpen++
		} else {
			if wrong := before.differs(l); wrong == nil {
				count.lacked++
				after = before
			} else if wrong := errors.Join(wrong, after.differs(l)); after.differs(l) != nil {
				return fmt.Errorf("generation %d: %w", generation, wrong)
			} else {
				count.had++
				before = after
			}
			if seed%2 == 0 { // so that the same seed does the same again
				l.start = func(f func()) { f() }
			}
			open := true
			for ; err == nil && open; serial++ {
				if rnd.IntN(30) == 0 {
					open, after = false, before
					err = l.Close()
					continue
				}
				s := randomStep(rnd, before, serial)
				after = before.clone()
				s.do(&after)
				if err = s.call(l); err == nil {
					before = after
				}
			}
			switch {
			case err == nil:
				count.closed++
			case !errors.Is(err, errCrashed):
				return fmt.Errorf("generation %d: %w", generation, err)
			case !open:
				count.inClose++
			}
			if len(l.segments) > 0 && l.segments[len(l.segments)-1].number > 1 {
				count.rolled++
			}
			if err := l.Close(); err != nil {
				return fmt.Errorf("generation %d: %w", generation, err)
			}
		}
		if rnd.IntN(3) == 0 { // only the process ends: what it wrote is there, and still not on disk
			count.kills++
			continue
		}
		var lost loss
		disk, lost = disk.image(rnd)
		count.add(lost)
		count.cuts++
	}
	return nil
}

// TestPowerCuts cuts the power at any moment, again and again.
func TestPowerCuts(t *testing.T) {
	var count tally
	for seed := *crashSeed; seed < *crashSeed+*crashSeeds; seed++ {
		require.NoError(t, powerCuts(seed, false, bugs{}, &count), "-crash.seed %d -crash.seeds 1", seed)
	}
	t.Logf("%+v", count)
	if *crashSeeds >= 100 {
		for name, n := range map[string]int{
			"sector dropped": count.dropped, "sector torn": count.torn, "sector kept": count.kept, "change of a name lost": count.names,
			"process killed": count.kills, "cut while opening": count.inOpen, "cut while closing": count.inClose, "log closed": count.closed, "image that lacked what was under way": count.lacked,
			"image that had it": count.had, "second segment": count.rolled,
		} {
			require.Positive(t, n, "no %s", name)
		}
	}
}

// TestLyingSync shows what a disk that says it has synced, and has not, leads to: loss, of which a part is noticed
// here. That it is found at all shows that TestPowerCuts would find a missing sync.
func TestLyingSync(t *testing.T) {
	var count tally
	for seed := range uint64(100) {
		err := powerCuts(seed, true, bugs{}, &count)
		switch {
		case errors.Is(err, fault.ErrCorrupt):
			count.noticed++
		case err != nil:
			count.forgotten++
		}
	}
	t.Logf("%+v", count)
	require.Positive(t, count.noticed)
	require.Greater(t, count.forgotten, 10)
}

// TestFaults has each kind of call fail, at each time: the log says so, takes nothing more, and is whole when it is
// opened again.
func TestFaults(t *testing.T) {
	for _, call := range []string{"create", "allocate", "write", "sync", "rename", "remove", "syncDir"} {
		t.Run(call, func(t *testing.T) {
			failed := 0
			for n := 1; n < 40; n++ {
				if faultAt(t, call, n) {
					failed++
				}
			}
			require.Positive(t, failed)
		})
	}
}

func faultAt(t *testing.T, call string, n int) (failed bool) {
	rnd := rand.New(rand.NewPCG(uint64(n), 3))
	disk, before := newMemory(), newModel()
	seen := 0
	disk.fault = func(c string) error {
		if c == call {
			if seen++; seen == n {
				return syscall.ENOSPC
			}
		}
		return nil
	}
	after := before
	l, err := openLog(disk, "disk", 4<<10)
	if err == nil {
		for serial := uint64(1); err == nil && serial < 120; serial++ {
			s := randomStep(rnd, before, serial)
			after = before.clone()
			s.do(&after)
			if err = s.call(l); err == nil {
				before = after
			}
		}
		if err != nil {
			require.ErrorIs(t, l.SetUint64([]byte("k"), 1), syscall.ENOSPC, "it must be final")
		}
		err = errors.Join(err, l.Close())
	}
	if err == nil {
		return false
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	disk.fault = nil
	l, err = openLog(disk, "disk", 4<<10)
	require.NoError(t, err)
	if wrong := before.differs(l); wrong != nil {
		require.NoError(t, after.differs(l), "%v", wrong)
		before = after
	}
	s := randomStep(rnd, before, 1000)
	require.NoError(t, s.call(l))
	s.do(&before)
	require.NoError(t, l.Close())
	l, err = openLog(disk, "disk", 4<<10)
	require.NoError(t, err)
	require.NoError(t, before.differs(l))
	require.NoError(t, l.Close())
	return true
}

// TestFailedSyncForgets has a sync fail and the system believe afterwards that what it has in memory is on disk, as
// Linux does. What is read from there when the log is opened again must not be lost by a power cut after that.
func TestFailedSyncForgets(t *testing.T) { require.EqualValues(t, 3, forgets(t, bugs{})) }

// forgets returns the last entry that is there after the power cut, of three that were stored.
func forgets(t *testing.T, bugs bugs) uint64 {
	disk := newMemory()
	l, err := openLog(disk, "disk", 4<<10)
	require.NoError(t, err)
	require.NoError(t, l.StoreLog(entry(1, 100)))
	disk.fault = func(call string) error {
		if call == "sync" {
			return syscall.EIO
		}
		return nil
	}
	require.ErrorIs(t, l.StoreLog(entry(2, 100)), syscall.EIO)
	require.NoError(t, l.Close())
	disk.fault = nil
	// What was written since the last good sync is now clean: a sync does nothing for it.
	node := disk.names[segmentName(1)]
	clean := append([]byte(nil), node.now...)
	onDisk := append([]byte(nil), node.durable...)
	l = newLog(&forgetful{disk, node, clean, onDisk}, "disk", 4<<10)
	l.bugs = bugs
	require.NoError(t, l.open())
	last, err := l.LastIndex()
	require.NoError(t, err)
	require.EqualValues(t, 2, last)
	require.NoError(t, l.StoreLog(entry(3, 100)))
	image := newMemory()
	image.put(segmentName(1), node.durable)
	if l, err = openLog(image, "disk", 4<<10); err != nil {
		require.ErrorIs(t, err, fault.ErrCorrupt)
		return 0
	}
	last, err = l.LastIndex()
	require.NoError(t, err)
	return last
}

// forgetful is a disk where only what is written from now on is made durable by a sync.
type forgetful struct {
	*memory
	node          *inode
	clean, onDisk []byte
}

func (f *forgetful) open(name string) (file, error) {
	in, err := f.memory.open(name)
	if err != nil {
		return nil, err
	}
	return &forgetfulFile{in.(*memoryFile), f}, err
}

type forgetfulFile struct {
	*memoryFile
	f *forgetful
}

func (f *forgetfulFile) WriteAt(p []byte, at int64) (int, error) {
	copy(f.f.onDisk[at:], p)
	return f.memoryFile.WriteAt(p, at)
}

func (f *forgetfulFile) appendAt(p []byte, at int64) error {
	_, err := f.WriteAt(p, at)
	return err
}

func (f *forgetfulFile) sync() error {
	f.n.durable = append([]byte(nil), f.f.onDisk...)
	return nil
}
