package store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestVerdict decides who is wrong: never a majority, and nobody while it is not known where the majority is.
func TestVerdict(t *testing.T) {
	voter := func(name string, hash uint64) opinion { return opinion{name, hash, true} }
	for _, c := range []struct {
		name   string
		voters int
		leader string
		told   []opinion
		wrong  []string
	}{
		{"all agree", 3, "a", []opinion{voter("a", 1), voter("b", 1), voter("c", 1)}, nil},
		{"a follower", 3, "a", []opinion{voter("a", 1), voter("b", 2), voter("c", 1)}, []string{"b"}},
		{"a follower, one not heard", 5, "a", []opinion{voter("a", 1), voter("b", 2), voter("c", 1), voter("d", 1)}, []string{"b"}},
		{"the leader", 3, "a", []opinion{voter("a", 1), voter("b", 2), voter("c", 2)}, []string{"a"}},
		{"one of two", 2, "b", []opinion{voter("a", 1), voter("b", 2)}, []string{"a"}},
		{"two of three heard", 3, "a", []opinion{voter("a", 1), voter("b", 2)}, nil},
		{"four of five heard", 5, "a", []opinion{voter("a", 1), voter("b", 2), voter("c", 2), voter("d", 1)}, nil},
		{"all three differ", 3, "b", []opinion{voter("a", 1), voter("b", 2), voter("c", 3)}, []string{"a", "c"}},
		{"two pairs", 4, "d", []opinion{voter("a", 1), voter("b", 1), voter("c", 2), voter("d", 2)}, []string{"a", "b"}},
		{"pairs without the leader", 5, "e", []opinion{voter("a", 1), voter("b", 1), voter("c", 2), voter("d", 2), voter("e", 3)}, []string{"c", "d", "e"}},
		{"without a vote", 1, "a", []opinion{voter("a", 1), {"b", 2, false}, {"c", 2, false}}, []string{"b", "c"}},
		{"hash 0", 3, "a", []opinion{voter("a", 5), voter("b", 0), voter("c", 0)}, []string{"a"}},
	} {
		for range 10 { // the order of a map
			_, wrong := verdict(c.voters, c.leader, c.told)
			require.Equal(t, c.wrong, wrong, c.name)
		}
	}
}

// TestCheckpointRings finds hashes that lie close together, and older ones further apart.
func TestCheckpointRings(t *testing.T) {
	m := &machine{store: &Store{}, state: newState()}
	m.rings[0].every, m.rings[1].every = checkpointEvery, coarseEvery
	for m.state.applied < 3*coarseEvery+checkpointEvery+1 {
		m.state.applied++
		m.state.hash = m.state.applied * 7
		m.mark()
	}
	require.Equal(t, []checkpoint{{3 * coarseEvery, 7 * 3 * coarseEvery}, {3*coarseEvery + checkpointEvery, 7 * (3*coarseEvery + checkpointEvery)}}, m.checkpoints())
	for applied, kept := range map[uint64]bool{
		0: false, checkpointEvery: false, coarseEvery: true, 2 * coarseEvery: true, 3*coarseEvery - 1: false,
		3*coarseEvery + checkpointEvery - 63*checkpointEvery: true, 4 * coarseEvery: false,
	} {
		hash, found := m.hashAt(applied)
		require.Equal(t, kept, found, applied)
		if found {
			require.Equal(t, applied*7, hash)
		}
	}
}

// TestTellCodec reads what it writes, and what a later release adds to.
func TestTellCodec(t *testing.T) {
	told := table{
		term: 3, version: 2, applied: 1000, asks: []uint64{16, 4096},
		members: []tableRow{{"a", true, 1000, 0, false, ""}, {"b", true, 5, 995, true, "disk"}, {name: "c"}},
	}
	for _, wrong := range []*proof{nil, {7, 1 << 63}} {
		p := told.encode(wrong)
		for _, more := range [][]byte{p, append(p, 1, 2, 3)} {
			got, err := decodeTable(more)
			require.NoError(t, err)
			require.Equal(t, wrong, got.wrong)
			got.wrong = nil
			require.Equal(t, told, got)
		}
		for n := range p {
			_, err := decodeTable(p[:n])
			require.ErrorIs(t, err, ErrCorrupt)
		}
	}
	said := report{supported: 2, willing: 1, applied: 77, failure: "f", hashes: []checkpoint{{16, 1 << 60}, {32, 5}}}
	got, err := decodeReport(append(said.encode(), 9))
	require.NoError(t, err)
	require.Equal(t, said, got)
	for n := range said.encode() {
		_, err := decodeReport(said.encode()[:n])
		require.ErrorIs(t, err, ErrCorrupt)
	}
}

func FuzzDecodeTell(f *testing.F) {
	told := table{term: 3, asks: []uint64{16}, members: []tableRow{{"a", true, 1000, 1, true, "f"}}}
	f.Add(told.encode(&proof{1, 2}))
	said := report{supported: 2, willing: 1, applied: 77, failure: "f", hashes: []checkpoint{{16, 1 << 60}}}
	f.Add(said.encode())
	f.Fuzz(func(t *testing.T, p []byte) {
		if told, err := decodeTable(p); err == nil {
			again, err := decodeTable(told.encode(told.wrong))
			require.NoError(t, err)
			require.Equal(t, told, again)
		}
		if said, err := decodeReport(p); err == nil {
			again, err := decodeReport(said.encode())
			require.NoError(t, err)
			require.Equal(t, len(said.hashes), len(again.hashes))
		}
	})
}
