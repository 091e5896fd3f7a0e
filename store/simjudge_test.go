package store_test

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/keelson-dev/keelson/store"
)

// story is what happened, as the watchers together saw it, told a second time by the simplest of means: from it the
// state at each revision is known.
type story struct {
	last     int64
	events   map[int64][]store.Event
	versions map[string][]simVersion // of a key, by revision
	keys     []string                // in order
}

// simVersion is a key from a revision on; kv is nil where it does not exist.
type simVersion struct {
	revision int64
	kv       *store.KV
}

// newStory reads events, and returns what about them can't be.
func newStory(events map[int64][]store.Event, last int64) (s *story, wrong []string) {
	s = &story{last: last, events: events, versions: map[string][]simVersion{}}
	for revision := int64(2); revision <= last; revision++ {
		changed := map[string]bool{}
		for _, e := range events[revision] {
			key := string(e.KV.Key)
			before := s.at(key, revision-1)
			want := &store.KV{Key: e.KV.Key, Value: e.KV.Value, Lease: e.KV.Lease, CreateRevision: revision, ModRevision: revision, Version: 1}
			switch {
			case e.Type == store.EventDelete:
				want = &store.KV{Key: e.KV.Key, ModRevision: revision}
			case before != nil:
				want.CreateRevision, want.Version = before.CreateRevision, before.Version+1
			}
			switch {
			case changed[key]:
				wrong = append(wrong, fmt.Sprintf("revision %d changes %s twice", revision, key))
			case e.Type == store.EventDelete && before == nil:
				wrong = append(wrong, fmt.Sprintf("revision %d deletes %s, which is not there", revision, key))
			case describeKV(want) != describeKV(e.KV):
				wrong = append(wrong, fmt.Sprintf("revision %d has %s, which should be %s", revision, describeKV(e.KV), describeKV(want)))
			case e.PrevKV != nil && describeKV(e.PrevKV) != describeKV(before):
				wrong = append(wrong, fmt.Sprintf("revision %d: before %s was %s, and should be %s", revision, key, describeKV(e.PrevKV), describeKV(before)))
			}
			changed[key] = true
			if s.versions[key] == nil {
				s.keys = append(s.keys, key)
			}
			v := simVersion{revision: revision}
			if e.Type == store.EventPut {
				v.kv = e.KV
			}
			s.versions[key] = append(s.versions[key], v)
		}
	}
	slices.Sort(s.keys)
	return s, wrong
}

// at returns a key at a revision, nil if it does not exist then.
func (s *story) at(key string, revision int64) *store.KV {
	versions := s.versions[key]
	n := sort.Search(len(versions), func(i int) bool { return versions[i].revision > revision })
	if n == 0 {
		return nil
	}
	return versions[n-1].kv
}

func (s *story) scan(start, end string, revision int64) (found []*store.KV) {
	for _, key := range s.keys {
		if kv := s.at(key, revision); kv != nil && simInRange(key, start, end) {
			found = append(found, kv)
		}
	}
	return found
}

// made checks that a revision wrote a value to keys.
func (s *story) made(revision int64, value string, keys ...string) string {
	for _, key := range keys {
		if kv := s.at(key, revision); revision > s.last || kv == nil || kv.ModRevision != revision || string(kv.Value) != value {
			return fmt.Sprintf("acknowledged write of %q to %s at revision %d is lost: there is %s", value, key, revision, describeKV(kv))
		}
	}
	return ""
}

// sameRange checks the answer to a range.
func (s *story) sameRange(req store.RangeRequest, res store.RangeResult) string {
	revision := req.Revision
	if revision == 0 {
		revision = res.Revision
	}
	found := s.scan(string(req.Key), string(req.End), revision)
	count := int64(len(found))
	if req.CountOnly {
		found = nil
	}
	if req.SortDescend {
		slices.Reverse(found)
	}
	more := req.Limit > 0 && int64(len(found)) > req.Limit
	if more {
		found = found[:req.Limit]
	}
	describe := func(kv *store.KV) string { return describeKV(kv) }
	var want, got []string
	for _, kv := range found {
		want = append(want, describe(kv))
	}
	for i := range res.KVs {
		got = append(got, describe(&res.KVs[i]))
	}
	if w, g := strings.Join(want, " "), strings.Join(got, " "); w != g || count != res.Count || more != res.More {
		return fmt.Sprintf("at revision %d there are %d: %s (more: %v)\nand the answer says %d: %s (more: %v)", revision, count, w, more, res.Count, g, res.More)
	}
	return ""
}

// judge looks at all that was seen.
func (sim *simulation) judge(ctx context.Context) {
	s, wrong := newStory(sim.events, sim.known)
	for _, text := range wrong {
		sim.problem("events: %s", text)
	}
	sim.once(s)
	sim.order()
	for _, r := range sim.records {
		if r.check != nil {
			if text := r.check(s); text != "" {
				sim.problem("%v: %s", r, text)
			}
		}
	}
	for key, since := range sim.freed {
		for _, v := range s.versions[key] {
			if v.revision > since && v.kv == nil {
				sim.problem("%s has no lease since revision %d, and is deleted at %d", key, since, v.revision)
			}
		}
	}
	for _, key := range s.keys {
		if kv := s.at(key, s.last); kv != nil && kv.Lease != 0 {
			sim.problem("%s is there, and its lease %d must have ended", key, kv.Lease)
		}
	}
	sim.same(ctx, s)
	// Porcupine takes an order of operations for each key that explains them all, if there is one.
	last := sim.stamp()
	for i := range sim.history {
		sim.history[i].Return = min(sim.history[i].Return, last)
	}
	if result := porcupine.CheckOperationsTimeout(simModel(), sim.history, time.Minute); result != porcupine.Ok {
		sim.problem("the history is not linearizable: %v", result)
	}
}

// once checks that no write was applied twice: all values differ.
func (sim *simulation) once(s *story) {
	times := map[string]int64{}
	for revision := int64(2); revision <= s.last; revision++ {
		for _, e := range s.events[revision] {
			key := string(e.KV.Key)
			if e.Type != store.EventPut || strings.HasPrefix(key, "lease/") {
				continue
			}
			id := key + "=" + string(e.KV.Value)
			if first := times[id]; first != 0 {
				sim.problem("write %s was applied twice, at revisions %d and %d", id, first, revision)
			}
			times[id] = revision
		}
	}
}

// order checks that operations take effect between call and answer: none is at an earlier revision than one that had
// been answered when it was called, and none makes a revision that was known before.
func (sim *simulation) order() {
	byCall := slices.Clone(sim.records)
	slices.SortFunc(byCall, func(a, b *simRecord) int { return int(a.call - b.call) })
	byReturn := slices.Clone(byCall)
	slices.SortFunc(byReturn, func(a, b *simRecord) int {
		switch {
		case a.ret < b.ret:
			return -1
		case a.ret > b.ret:
			return 1
		}
		return 0
	})
	makers := map[int64]*simRecord{}
	var newest *simRecord // of those that have been answered
	for _, r := range byCall {
		for len(byReturn) > 0 && byReturn[0].ret < r.call {
			if done := byReturn[0]; !done.loose && done.revision > 0 && (newest == nil || done.revision > newest.revision) {
				newest = done
			}
			byReturn = byReturn[1:]
		}
		if r.revision == 0 || r.loose {
			continue
		}
		if newest != nil && (r.revision < newest.revision || r.wrote && r.revision == newest.revision) {
			sim.problem("not linearizable: %v\nafter %v", r, newest)
		}
		if r.wrote {
			if other := makers[r.revision]; other != nil {
				sim.problem("two writes made revision %d: %v\nand %v", r.revision, r, other)
			}
			makers[r.revision] = r
		}
	}
}

// same checks that each member has the end of the story.
func (sim *simulation) same(ctx context.Context, s *story) {
	for _, name := range sim.all() {
		m := sim.member(name)
		if m == nil {
			continue
		}
		req := store.RangeRequest{Key: []byte{0}, End: []byte{0}, Serializable: true}
		res, err := m.Range(ctx, req)
		if err != nil {
			sim.problem("range at %s: %v", name, err)
			continue
		}
		if res.Revision == s.last {
			if text := s.sameRange(req, res); text != "" {
				sim.problem("member %s at the end: %s", name, text)
			}
		} else if !sim.failed() {
			sim.problem("member %s ends at revision %d of %d", name, res.Revision, s.last)
		}
	}
}
