package store

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// fan is how many entries a node of a tree has at most: so many that a node fills an allocation of 512 bytes.
const fan = 29

// tree is a B-tree of keys, which gives out copies of itself at the price of a pointer. It has for each key its newest
// version. What copies share is copied before it is changed, with one exception: where a key exists, and a newer version
// of it takes the place of the last, all copies get that. Their readers go by revision, and find from there those that
// they are to see. Which keys exist does not change in a copy.
//
// All versions are in the leaves. A node knows what its keys begin with, and has the eight bytes after that in line, so
// that a search looks at about one key for each level, and mostly at none that it does not end at; and how many keys
// below it exist, so that those of a range are counted without a visit to each. One goroutine changes a tree; its copies
// are only read.
type tree struct {
	root *node
	n    int
	age  uint64 // how often it was copied; nodes of this age are its own
}

// node is a leaf, or has children: then its keys are lower bounds of what each of them has.
type node struct {
	age    uint64
	n      int
	live   int    // keys below that exist
	prefix string // all keys begin with it
	heads  [fan]uint64
	newest [fan]*version // other goroutines than the tree's get them with at
	inner  *inner
}

type inner struct {
	keys [fan]string
	kids [fan]*node
}

// text returns the bytes of b, which must not change while it is used.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// head returns the first eight bytes as a number that has their order.
func head(key string) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(unsafe.Slice(unsafe.StringData(key), 8))
	}
	var h uint64
	for i := range len(key) {
		h |= uint64(key[i]) << (56 - 8*i)
	}
	return h
}

func (nd *node) key(i int) string {
	if nd.inner != nil {
		return nd.inner.keys[i]
	}
	return nd.at(i).name()
}

// at returns the newest version of a leaf's key.
func (nd *node) at(i int) *version {
	return (*version)(atomic.LoadPointer((*unsafe.Pointer)(unsafe.Pointer(&nd.newest[i]))))
}

// replace puts a version in the place that find has returned, of one which exists, as this one does; also in the copies
// of the tree.
func replace(place **version, next *version) {
	atomic.StorePointer((*unsafe.Pointer)(unsafe.Pointer(place)), unsafe.Pointer(next))
}

// find returns the place of the first key that is not below key, and whether it is key.
func (nd *node) find(key string) (i int, is bool) {
	skip := len(nd.prefix)
	if len(key) < skip || key[:skip] != nd.prefix {
		if key < nd.prefix {
			return 0, false
		}
		return nd.n, false
	}
	h := head(key[skip:])
	lo, hi := 0, nd.n
	for lo < hi {
		if mid := (lo + hi) / 2; nd.heads[mid] < h {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	// Where heads are equal, what is behind them decides. If nothing is, that need not be looked at: it is elsewhere in
	// memory.
	for ; lo < nd.n && nd.heads[lo] == h; lo++ {
		k := nd.key(lo)
		switch all := skip + 8; {
		case len(k) <= all && len(key) <= all:
			if len(k) >= len(key) {
				return lo, len(k) == len(key)
			}
		case k == key:
			return lo, true
		case k > key:
			return lo, false
		}
	}
	return lo, false
}

// child returns the place of the child that has key, if any has; what is below all bounds belongs to the first.
func (nd *node) child(key string) int {
	i, is := nd.find(key)
	if is {
		return i
	}
	return max(0, i-1)
}

// index finds out what the keys begin with. They are in order, so that the first and the last tell.
func (nd *node) index() {
	first, last := nd.key(0), nd.key(nd.n-1)
	same := 0
	for same < min(len(first), len(last)) && first[same] == last[same] {
		same++
	}
	nd.prefix = first[:same]
	for i := range nd.n {
		nd.heads[i] = head(nd.key(i)[same:])
	}
}

// weight returns how many existing keys a version, or a child, stands for.
func weight(v *version, kid *node) int {
	switch {
	case kid != nil:
		return kid.live
	case v.tombstone():
		return 0
	}
	return 1
}

func (nd *node) weight(i int) int {
	if nd.inner != nil {
		return nd.inner.kids[i].live
	}
	return weight(nd.at(i), nil)
}

// before returns how many existing keys the first i entries stand for.
func (nd *node) before(i int) (live int) {
	if nd.inner == nil && nd.live == nd.n {
		return i
	}
	for k := range i {
		live += nd.weight(k)
	}
	return live
}

// insert puts a version, or a child with its bound, into a node that is not full.
func (nd *node) insert(i int, key string, v *version, kid *node) {
	copy(nd.heads[i+1:nd.n+1], nd.heads[i:nd.n])
	if nd.inner == nil {
		copy(nd.newest[i+1:nd.n+1], nd.newest[i:nd.n])
		nd.newest[i] = v
	} else {
		copy(nd.inner.keys[i+1:nd.n+1], nd.inner.keys[i:nd.n])
		copy(nd.inner.kids[i+1:nd.n+1], nd.inner.kids[i:nd.n])
		nd.inner.keys[i], nd.inner.kids[i] = key, kid
	}
	nd.n++
	nd.live += weight(v, kid)
	if skip := len(nd.prefix); nd.n > 1 && len(key) >= skip && key[:skip] == nd.prefix {
		nd.heads[i] = head(key[skip:])
	} else {
		nd.index()
	}
}

func (nd *node) remove(i int) {
	last := nd.n - 1
	nd.live -= nd.weight(i)
	copy(nd.heads[i:last], nd.heads[i+1:nd.n])
	if nd.inner == nil {
		copy(nd.newest[i:last], nd.newest[i+1:nd.n])
		nd.newest[last] = nil
	} else {
		copy(nd.inner.keys[i:last], nd.inner.keys[i+1:nd.n])
		copy(nd.inner.kids[i:last], nd.inner.kids[i+1:nd.n])
		nd.inner.keys[last], nd.inner.kids[last] = "", nil
	}
	nd.n = last
}

// cut moves what is from i on to a new node.
func (nd *node) cut(i int, age uint64) *node {
	left := nd.before(i)
	right := &node{age: age, n: nd.n - i, live: nd.live - left}
	if nd.inner == nil {
		copy(right.newest[:], nd.newest[i:nd.n])
		clear(nd.newest[i:nd.n])
	} else {
		right.inner = &inner{}
		copy(right.inner.keys[:], nd.inner.keys[i:nd.n])
		copy(right.inner.kids[:], nd.inner.kids[i:nd.n])
		clear(nd.inner.keys[i:nd.n])
		clear(nd.inner.kids[i:nd.n])
	}
	nd.n, nd.live = i, left
	nd.index()
	right.index()
	return right
}

// own returns a node that may be changed.
func (t *tree) own(nd *node) *node {
	if nd.age == t.age {
		return nd
	}
	mine := *nd
	mine.age = t.age
	if nd.inner != nil {
		kids := *nd.inner
		mine.inner = &kids
	}
	return &mine
}

// copied returns the tree as it is now.
func (t *tree) copied() tree {
	now := *t
	t.age++
	return now
}

// find returns where the newest version of a key is, nil if there is none: in what copies may share, so that only
// replace may change it.
func (t *tree) find(key string) **version {
	nd := t.root
	if nd == nil {
		return nil
	}
	for nd.inner != nil {
		nd = nd.inner.kids[nd.child(key)]
	}
	if i, is := nd.find(key); is {
		return &nd.newest[i]
	}
	return nil
}

// get returns the newest version of a key, nil if there is none.
func (t *tree) get(key string) *version {
	nd := t.root
	if nd == nil {
		return nil
	}
	for nd.inner != nil {
		nd = nd.inner.kids[nd.child(key)]
	}
	if i, is := nd.find(key); is {
		return nd.at(i)
	}
	return nil
}

// below returns how many keys below key exist.
func (t *tree) below(key string) (live int) {
	nd := t.root
	if nd == nil {
		return 0
	}
	for nd.inner != nil {
		i := nd.child(key)
		live += nd.before(i)
		nd = nd.inner.kids[i]
	}
	i, _ := nd.find(key)
	return live + nd.before(i)
}

// count returns how many keys from from on and below to exist; to "" means that there is no end.
func (t *tree) count(from, to string) int {
	switch {
	case t.root == nil || to != "" && to <= from:
		return 0
	case to == "":
		return t.root.live - t.below(from)
	}
	return t.below(to) - t.below(from)
}

// set puts a version in, in the place of one with the same key.
func (t *tree) set(v *version) {
	if t.root == nil {
		t.root = &node{age: t.age}
	}
	t.root = t.own(t.root)
	if right, _ := t.put(t.root, v, true); right != nil {
		root := &node{age: t.age, n: 2, live: t.root.live + right.live, inner: &inner{}}
		root.inner.keys[0], root.inner.kids[0] = t.root.key(0), t.root
		root.inner.keys[1], root.inner.kids[1] = right.key(0), right
		root.index()
		t.root = root
	}
}

// put is set below a node that may be changed. If that had to be divided, the part on the right is returned, and by how
// many the existing keys became more. rightmost says that no other node of its level is on its right.
func (t *tree) put(nd *node, v *version, rightmost bool) (right *node, change int) {
	key := v.name()
	if nd.inner != nil {
		i := nd.child(key)
		if i == 0 && key < nd.inner.keys[0] {
			nd.inner.keys[0] = key
			nd.index()
		}
		kid := t.own(nd.inner.kids[i])
		nd.inner.kids[i] = kid
		divided, change := t.put(kid, v, rightmost && i == nd.n-1)
		nd.live += change
		if divided == nil {
			return nil, change
		}
		nd.live -= divided.live // which comes back with it
		return t.add(nd, i+1, divided.key(0), nil, divided, rightmost), change
	}
	i, is := nd.find(key)
	if is {
		change = weight(v, nil) - weight(nd.newest[i], nil)
		nd.newest[i] = v
		nd.live += change
		return nil, change
	}
	t.n++
	return t.add(nd, i, key, v, nil, rightmost), weight(v, nil)
}

// add is insert that divides a full node: in the middle, or, since keys often come in order, behind the last one.
func (t *tree) add(nd *node, i int, key string, v *version, kid *node, rightmost bool) (right *node) {
	if nd.n < fan {
		nd.insert(i, key, v, kid)
		return nil
	}
	if rightmost && i == fan {
		right = &node{age: t.age}
		if nd.inner != nil {
			right.inner = &inner{}
		}
		right.insert(0, key, v, kid)
		return right
	}
	right = nd.cut(fan/2, t.age)
	if i > nd.n {
		right.insert(i-nd.n, key, v, kid)
	} else {
		nd.insert(i, key, v, kid)
	}
	return right
}

// remove takes a key out, if it is there.
func (t *tree) remove(key string) {
	if t.get(key) == nil {
		return
	}
	t.n--
	t.root = t.own(t.root)
	t.drop(t.root, key)
	for t.root.inner != nil && t.root.n == 1 {
		t.root = t.root.inner.kids[0]
	}
	if t.root.n == 0 {
		t.root = nil
	}
}

// drop is remove below a node that may be changed.
func (t *tree) drop(nd *node, key string) {
	if nd.inner == nil {
		i, _ := nd.find(key)
		nd.remove(i)
		return
	}
	i := nd.child(key)
	kid := t.own(nd.inner.kids[i])
	nd.inner.kids[i] = kid
	live := kid.live
	t.drop(kid, key)
	nd.live -= live - kid.live
	switch {
	case kid.n == 0:
		nd.remove(i)
	case kid.n < fan/4 && i > 0:
		t.join(nd, i-1)
	case kid.n < fan/4 && i+1 < nd.n:
		t.join(nd, i)
	}
}

// join makes one of a child and the next one, if that leaves room in it.
func (t *tree) join(nd *node, i int) {
	if nd.inner.kids[i].n+nd.inner.kids[i+1].n > fan*3/4 {
		return
	}
	left, right := t.own(nd.inner.kids[i]), nd.inner.kids[i+1]
	copy(left.newest[left.n:], right.newest[:right.n])
	if left.inner != nil {
		copy(left.inner.keys[left.n:], right.inner.keys[:right.n])
		copy(left.inner.kids[left.n:], right.inner.kids[:right.n])
	}
	left.n += right.n
	left.live += right.live
	left.index()
	nd.inner.kids[i] = left
	nd.live += right.live // which remove takes off
	nd.remove(i + 1)
}

// ascend calls visit for the newest versions from a key on, in order, until it returns false.
func (t *tree) ascend(from string, visit func(*version) bool) {
	if t.root != nil {
		t.root.ascend(from, visit)
	}
}

func (nd *node) ascend(from string, visit func(*version) bool) bool {
	if nd.inner == nil {
		for i, _ := nd.find(from); i < nd.n; i++ {
			if !visit(nd.at(i)) {
				return false
			}
		}
		return true
	}
	for i := nd.child(from); i < nd.n; i++ {
		if !nd.inner.kids[i].ascend(from, visit) {
			return false
		}
	}
	return true
}
