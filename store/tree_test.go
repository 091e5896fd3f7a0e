package store

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// treeModel is a sorted list.
type treeModel []*version

func (m treeModel) find(key string) (int, bool) {
	return slices.BinarySearchFunc(m, key, func(v *version, key string) int {
		switch {
		case v.name() < key:
			return -1
		case v.name() > key:
			return 1
		}
		return 0
	})
}

func (m treeModel) set(v *version) treeModel {
	i, found := m.find(v.name())
	m = slices.Clone(m)
	if found {
		m[i] = v
		return m
	}
	return slices.Insert(m, i, v)
}

// upTo returns what there was at a revision.
func (m treeModel) upTo(revision int64) treeModel {
	old := slices.Clone(m)
	for i := range old {
		old[i] = old[i].upTo(revision)
	}
	return old
}

func (m treeModel) remove(key string) treeModel {
	if i, found := m.find(key); found {
		return slices.Delete(slices.Clone(m), i, i+1)
	}
	return m
}

// live counts those that exist.
func (m treeModel) live() (n int) {
	for _, v := range m {
		if !v.tombstone() {
			n++
		}
	}
	return n
}

func treeVersions(t *tree, from string) (all treeModel) {
	t.ascend(from, func(v *version) bool {
		all = append(all, v)
		return true
	})
	return all
}

// checkTree compares a tree, as it was at a revision, with its model.
func checkTree(t *testing.T, tr *tree, revision int64, m treeModel, probes []string) {
	t.Helper()
	require.Equal(t, len(m), tr.n)
	require.True(t, slices.Equal(m, treeVersions(tr, "").upTo(revision)))
	require.Equal(t, m.live(), tr.count("", ""))
	for p, key := range probes {
		i, found := m.find(key)
		if found {
			require.Same(t, m[i], tr.get(key).upTo(revision), "%q", key)
			require.Equal(t, tr.get(key), *tr.find(key), "%q", key)
		} else {
			require.Nil(t, tr.get(key), "%q", key)
			require.Nil(t, tr.find(key), "%q", key)
		}
		require.True(t, slices.Equal(m[i:], treeVersions(tr, key).upTo(revision)), "from %q", key)
		require.Equal(t, m[i:].live(), tr.count(key, ""), "from %q", key)
		end := probes[(p+7)%len(probes)]
		j, _ := m.find(end)
		if end != "" {
			require.Equal(t, m[i:max(i, j)].live(), tr.count(key, end), "from %q to %q", key, end)
		}
	}
}

// runTree does what ops say, on a tree and its model, and compares them and the copies made on the way, as they were.
func runTree(t *testing.T, ops []byte, keys []string) {
	var tr tree
	var m treeModel
	type copied struct {
		tree     tree
		revision int64
		model    treeModel
	}
	var copies []copied
	for i := 0; i+2 < len(ops); i += 3 {
		key := keys[(int(ops[i+1])<<8|int(ops[i+2]))%len(keys)]
		switch op := ops[i] % 16; {
		case op == 0:
			copies = append(copies, copied{tr.copied(), int64(i), m})
		case op < 6:
			tr.remove(key)
			m = m.remove(key)
		default:
			v := &version{KV: KV{Key: []byte(key), Version: int64(ops[i] >> 7), ModRevision: int64(i)}}
			place := tr.find(key)
			_, found := m.find(key)
			require.Equal(t, found, place != nil, "%q", key)
			if found {
				v.follow(*place)
			}
			if found && op != 6 && weight(v, nil) == weight(*place, nil) {
				replace(place, v)
			} else {
				tr.set(v)
			}
			m = m.set(v)
		}
	}
	checkTree(t, &tr, math.MaxInt64, m, keys)
	for i := range copies {
		checkTree(t, &copies[i].tree, copies[i].revision, copies[i].model, keys[:1])
	}
}

// treeKeys are of many forms: those of which one is the beginning of another, that end in zeros, that have long
// beginnings in common, and that have none.
func treeKeys(random *rand.Rand) (keys []string) {
	for range 300 {
		prefix := []string{"", "/", "/registry/", "/registry/pods/default/", "\x00", "\xff\xff"}[random.IntN(6)]
		switch random.IntN(4) {
		case 0:
			keys = append(keys, prefix+string(make([]byte, random.IntN(12))))
		case 1:
			keys = append(keys, fmt.Sprintf("%s%06d", prefix, random.IntN(1000)))
		case 2:
			key := make([]byte, random.IntN(20))
			for i := range key {
				key[i] = "\x00a\xff"[random.IntN(3)]
			}
			keys = append(keys, prefix+string(key))
		default:
			keys = append(keys, prefix+"a"[:random.IntN(2)])
		}
	}
	return keys
}

func TestTree(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 0))
		keys := treeKeys(random)
		ops := make([]byte, 3*random.IntN(2000))
		for i := range ops {
			ops[i] = byte(random.UintN(256))
		}
		runTree(t, ops, keys)
	}
}

// TestTreeInOrder fills the leaves of keys that come in order, and takes them all out again.
func TestTreeInOrder(t *testing.T) {
	for _, down := range []bool{false, true} {
		var tr tree
		const n = 5000
		for i := range n {
			if down {
				i = n - i
			}
			tr.set(&version{KV: KV{Key: fmt.Appendf(nil, "/k/%08d", i), Version: int64(i % 3)}})
		}
		all := treeVersions(&tr, "")
		require.Len(t, all, n)
		if leaves, _ := countNodes(tr.root); !down {
			require.Equal(t, (n+fan-1)/fan, leaves)
		}
		live := all.live()
		require.Equal(t, live, tr.count("", ""))
		before := tr.copied()
		for i, v := range all {
			require.Same(t, v, tr.get(v.name()))
			tr.remove(v.name())
			require.Nil(t, tr.get(v.name()))
			require.Equal(t, n-i-1, tr.n)
			require.Equal(t, live-all[:i+1].live(), tr.count("", ""))
		}
		require.Nil(t, tr.root)
		require.Equal(t, all, treeVersions(&before, ""))
	}
}

func countNodes(nd *node) (leaves, inner int) {
	if nd.inner == nil {
		return 1, 0
	}
	for _, kid := range nd.inner.kids[:nd.n] {
		l, i := countNodes(kid)
		leaves, inner = leaves+l, inner+i
	}
	return leaves, inner + 1
}

func FuzzTree(f *testing.F) {
	f.Add([]byte{9, 0, 0, 9, 0, 1, 0, 0, 0, 1, 0, 0}, uint64(1))
	f.Fuzz(func(t *testing.T, ops []byte, seed uint64) {
		runTree(t, ops, treeKeys(rand.New(rand.NewPCG(seed, 0))))
	})
}
