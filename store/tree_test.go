package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// treeModel is a sorted list.
type treeModel []*item

func (m treeModel) find(key string) (int, bool) {
	return slices.BinarySearchFunc(m, key, func(it *item, key string) int {
		switch {
		case it.key() < key:
			return -1
		case it.key() > key:
			return 1
		}
		return 0
	})
}

func (m treeModel) set(it *item) treeModel {
	i, found := m.find(it.key())
	m = slices.Clone(m)
	if found {
		m[i] = it
		return m
	}
	return slices.Insert(m, i, it)
}

func (m treeModel) remove(key string) treeModel {
	if i, found := m.find(key); found {
		return slices.Delete(slices.Clone(m), i, i+1)
	}
	return m
}

// live counts those that exist.
func (m treeModel) live() (n int) {
	for _, it := range m {
		if !it.newest.tombstone() {
			n++
		}
	}
	return n
}

func treeItems(t *tree, from string) (items []*item) {
	t.ascend(from, func(it *item) bool {
		items = append(items, it)
		return true
	})
	return items
}

func checkTree(t *testing.T, tr *tree, m treeModel, probes []string) {
	t.Helper()
	require.Equal(t, len(m), tr.n)
	require.True(t, slices.Equal(m, treeModel(treeItems(tr, ""))))
	require.Equal(t, m.live(), tr.count("", ""))
	for p, key := range probes {
		i, found := m.find(key)
		if found {
			require.Same(t, m[i], tr.get(key), "%q", key)
		} else {
			require.Nil(t, tr.get(key), "%q", key)
		}
		require.True(t, slices.Equal(m[i:], treeModel(treeItems(tr, key))), "from %q", key)
		require.Equal(t, m[i:].live(), tr.count(key, ""), "from %q", key)
		end := probes[(p+7)%len(probes)]
		j, _ := m.find(end)
		if end != "" {
			require.Equal(t, m[i:max(i, j)].live(), tr.count(key, end), "from %q to %q", key, end)
		}
	}
}

// runTree does what ops say, on a tree and its model, and compares them and the copies made on the way.
func runTree(t *testing.T, ops []byte, keys []string) {
	var tr tree
	var m treeModel
	type copied struct {
		tree  tree
		model treeModel
	}
	var copies []copied
	for i := 0; i+2 < len(ops); i += 3 {
		key := keys[(int(ops[i+1])<<8|int(ops[i+2]))%len(keys)]
		switch op := ops[i] % 16; {
		case op == 0:
			copies = append(copies, copied{tr.copied(), m})
		case op < 6:
			tr.remove(key)
			m = m.remove(key)
		default:
			it := &item{newest: &version{KV: KV{Key: []byte(key), Version: int64(ops[i] >> 7)}}}
			place := tr.place(key)
			_, found := m.find(key)
			require.Equal(t, found, place != nil, "%q", key)
			if found && op%2 == 0 {
				tr.replace(place, it)
			} else {
				tr.set(it)
			}
			m = m.set(it)
		}
	}
	checkTree(t, &tr, m, keys)
	for i := range copies {
		checkTree(t, &copies[i].tree, copies[i].model, keys[:1])
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
			tr.set(&item{newest: &version{KV: KV{Key: fmt.Appendf(nil, "/k/%08d", i), Version: int64(i % 3)}}})
		}
		items := treeItems(&tr, "")
		require.Len(t, items, n)
		if leaves, _ := countNodes(tr.root); !down {
			require.Equal(t, (n+fan-1)/fan, leaves)
		}
		live := treeModel(items).live()
		require.Equal(t, live, tr.count("", ""))
		before := tr.copied()
		for i, it := range items {
			require.Same(t, it, tr.get(it.key()))
			tr.remove(it.key())
			require.Nil(t, tr.get(it.key()))
			require.Equal(t, n-i-1, tr.n)
			require.Equal(t, live-treeModel(items[:i+1]).live(), tr.count("", ""))
		}
		require.Nil(t, tr.root)
		require.Equal(t, items, treeItems(&before, ""))
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
