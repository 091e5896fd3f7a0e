package store

import "cmp"

// version is one version of a key. A tombstone has Version 0 and only Key and ModRevision. It leads to the versions
// before it, so that the newest stands for all of them; what readers see of it does not change.
type version struct {
	KV
	sub   int32    // order among the changes of its revision
	depth int32    // how many versions are before it
	prev  *version // the one before; nil if there is none, or it is compacted
	jump  *version // one before that is further back, so that a search takes the logarithm of depth
	moved *version // what took its place, while a compaction runs; the state machine's own
}

func (v *version) tombstone() bool { return v.Version == 0 }

func (v *version) name() string { return text(v.Key) }

// follow puts a version behind another one, or at the beginning. How far jumps go is as in Myers, "An applicative
// random-access stack" (1983).
func (v *version) follow(prev *version) {
	v.prev, v.jump, v.depth = prev, prev, 0
	if prev == nil {
		return
	}
	v.depth = prev.depth + 1
	if j := prev.jump; j != nil && j.jump != nil && prev.depth-j.depth == j.depth-j.jump.depth {
		v.jump = j.jump
	}
}

// upTo returns the newest of a version and those before it that is not after revision, nil if there is none.
func (v *version) upTo(revision int64) *version {
	for v != nil && v.ModRevision > revision {
		if v.jump != nil && v.jump.ModRevision > revision {
			v = v.jump
		} else {
			v = v.prev
		}
	}
	return v
}

// at returns the version that holds at revision, nil if the key does not exist then.
func (v *version) at(revision int64) *version {
	if v = v.upTo(revision); v == nil || v.tombstone() {
		return nil
	}
	return v
}

// before returns the version before, nil if the key did not exist then, or that is not known any more.
func (v *version) before() *version {
	if v.prev == nil || v.prev.tombstone() {
		return nil
	}
	return v.prev
}

// since returns a version and those before it down to last, oldest first.
func (v *version) since(last *version) []*version {
	all := make([]*version, v.depth-last.depth+1)
	for i := len(all) - 1; i >= 0; i-- {
		all[i] = v
		v = v.prev
	}
	return all
}

// oldest returns the first of the versions that are kept.
func (v *version) oldest() *version {
	for v.prev != nil {
		v = v.prev
	}
	return v
}

// chain has versions of a key, oldest first, follow each other, and returns the newest.
func chain(versions []*version) (newest *version) {
	for _, v := range versions {
		v.follow(newest)
		newest = v
	}
	return newest
}

// inOrder compares versions by when they were made.
func inOrder(a, b *version) int {
	if a.ModRevision != b.ModRevision {
		return cmp.Compare(a.ModRevision, b.ModRevision)
	}
	return cmp.Compare(a.sub, b.sub)
}

func versionSize(v *version) int64 { return int64(len(v.Key)+len(v.Value)) + versionOverhead }
