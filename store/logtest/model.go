package logtest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// model is a log store as simple as can be.
type model struct {
	first, last uint64
	entries     map[uint64]*raft.Log
	keys        map[string]string
}

func newModel() *model { return &model{entries: map[uint64]*raft.Log{}, keys: map[string]string{}} }

func (m *model) store(all []*raft.Log) {
	if m.last > 0 && all[0].Index != m.last+1 {
		clear(m.entries) // there may be more, which is not looked at
		m.first = 0
	}
	for _, e := range all {
		m.entries[e.Index] = e
		if m.first == 0 {
			m.first = e.Index
		}
		m.last = e.Index
	}
}

func (m *model) delete(first, last uint64) {
	for i := first; i <= last; i++ {
		delete(m.entries, i)
	}
	switch {
	case first <= m.first && last >= m.last:
		m.first, m.last = 0, 0
	case first <= m.first:
		m.first = last + 1
	default:
		m.last = first - 1
	}
}

// testModel does the same at random to a store and to the model.
func testModel(t *testing.T, open Open) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			compareWithModel(t, open, seed, 100)
		})
	}
}

func compareWithModel(t *testing.T, open Open, seed uint64, steps int) {
	dir := t.TempDir()
	s := opened(t, open, dir)
	rnd := rand.New(rand.NewPCG(seed, 77))
	m := newModel()
	term := uint64(1)
	for range steps {
		switch n := rnd.IntN(20); {
		case n < 10:
			next := m.last + 1
			if m.last == 0 || rnd.IntN(30) == 0 {
				next += rnd.Uint64N(1000)
				if mono, ok := s.(raft.MonotonicLogStore); ok && mono.IsMonotonic() && m.last > 0 {
					require.NoError(t, s.DeleteRange(m.first, m.last))
					m.delete(m.first, m.last)
				}
			}
			var all []*raft.Log
			for range 1 + rnd.IntN(8) {
				all = append(all, entry(next, term, rnd.IntN(1<<rnd.IntN(15))))
				next++
			}
			require.NoError(t, s.StoreLogs(all))
			m.store(all)
		case n < 12 && m.last > 0:
			last := m.first + rnd.Uint64N(m.last-m.first+1)
			first, err := s.FirstIndex() // from before a gap, if that was kept
			require.NoError(t, err)
			require.NoError(t, s.DeleteRange(first, last))
			m.delete(m.first, last)
		case n < 15 && m.last > 0:
			first := max(m.first, m.last-min(m.last, rnd.Uint64N(12)))
			from := first
			if first == m.first {
				var err error
				from, err = s.FirstIndex()
				require.NoError(t, err)
			}
			require.NoError(t, s.DeleteRange(from, m.last))
			m.delete(first, m.last)
			term++
		case n < 18:
			key, value := fmt.Sprint(rnd.IntN(5)), fmt.Sprint("value ", rnd.Int())
			require.NoError(t, s.Set([]byte(key), []byte(value)))
			m.keys[key] = value
		case n == 19:
			s = reopened(t, open, dir, s)
		}
		m.compare(t, s)
	}
	s = reopened(t, open, dir, s)
	m.compare(t, s)
	require.NoError(t, s.Close())
}

func (m *model) compare(t *testing.T, s store.LogStore) {
	t.Helper()
	last, err := s.LastIndex()
	require.NoError(t, err)
	require.Equal(t, m.last, last)
	for _, e := range m.entries {
		same(t, s, e)
	}
	first, err := s.FirstIndex()
	require.NoError(t, err)
	require.LessOrEqual(t, first, m.first, "more may be kept before a gap, less not")
	if m.first > 0 {
		lacks(t, s, m.first-1)
	}
	lacks(t, s, m.last+1)
	for key, want := range m.keys {
		got, err := s.Get([]byte(key))
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}
