package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

func errorIsAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

// model is a store as simple as can be: a copy of everything per revision.
type model struct {
	states    []map[string]store.KV // by revision, from 1 on
	events    map[int64]string      // what each revision did, written by history
	compacted int64
	leases    map[int64]bool
}

func newModel() *model {
	return &model{states: []map[string]store.KV{nil, {}}, events: map[int64]string{}, leases: map[int64]bool{}}
}

func (m *model) revision() int64 { return int64(len(m.states) - 1) }

func inRange(key, start, end string) bool {
	switch end {
	case "":
		return key == start
	case "\x00":
		return key >= start
	default:
		return key >= start && key < end
	}
}

func find(state map[string]store.KV, start, end string) []store.KV {
	var found []store.KV
	for _, key := range slices.Sorted(maps.Keys(state)) {
		if inRange(key, start, end) {
			found = append(found, state[key])
		}
	}
	return found
}

// compare evaluates a compare on a state.
func compare(state map[string]store.KV, c store.Compare) bool {
	found := find(state, string(c.Key), string(c.End))
	if len(found) == 0 {
		if c.Target == store.CompareValue {
			return false
		}
		found = []store.KV{{}}
	}
	for _, kv := range found {
		var order int
		switch c.Target {
		case store.CompareValue:
			order = bytes.Compare(kv.Value, c.Value)
		default:
			n := map[store.CompareTarget]int64{
				store.CompareVersion: kv.Version, store.CompareCreate: kv.CreateRevision,
				store.CompareMod: kv.ModRevision, store.CompareLease: kv.Lease,
			}[c.Target]
			order = int(max(-1, min(1, n-c.Number)))
		}
		if !map[store.CompareOp]bool{store.Equal: order == 0, store.NotEqual: order != 0, store.Less: order < 0, store.Greater: order > 0}[c.Op] {
			return false
		}
	}
	return true
}

// txn runs a transaction and describes its answers in text.
func (m *model) txn(txn store.Txn) string {
	old := m.states[m.revision()]
	state := maps.Clone(old)
	var events []store.Event
	var run func(txn store.Txn) string
	run = func(txn store.Txn) string {
		succeeded := true
		for _, c := range txn.Compares {
			succeeded = succeeded && compare(old, c)
		}
		ops := txn.Else
		if succeeded {
			ops = txn.Then
		}
		text := fmt.Sprint(succeeded)
		for _, op := range ops {
			switch {
			case op.Range != nil:
				text += " range" + describe(find(state, string(op.Range.Key), string(op.Range.End)))
			case op.Put != nil:
				key := string(op.Put.Key)
				prev, existed := state[key]
				kv := store.KV{Key: op.Put.Key, Value: op.Put.Value, Lease: op.Put.Lease, CreateRevision: m.revision() + 1, ModRevision: m.revision() + 1, Version: 1}
				event := store.Event{Type: store.EventPut, KV: &kv}
				text += " put"
				if existed {
					kv.CreateRevision, kv.Version = prev.CreateRevision, prev.Version+1
					event.PrevKV = &prev
					text += describe([]store.KV{prev})
				}
				state[key] = kv
				events = append(events, event)
			case op.Delete != nil:
				gone := find(state, string(op.Delete.Key), string(op.Delete.End))
				for i := range gone {
					delete(state, string(gone[i].Key))
					events = append(events, store.Event{Type: store.EventDelete, KV: &store.KV{Key: gone[i].Key, ModRevision: m.revision() + 1}, PrevKV: &gone[i]})
				}
				text += " delete" + describe(gone)
			case op.Txn != nil:
				text += " (" + run(*op.Txn) + ")"
			}
		}
		return text
	}
	text := run(txn)
	m.commit(state, events)
	return text
}

func (m *model) commit(state map[string]store.KV, events []store.Event) {
	if len(events) > 0 {
		m.states = append(m.states, state)
		m.events[m.revision()] = history(events)
	}
}

func (m *model) revoke(id int64) {
	state := maps.Clone(m.states[m.revision()])
	var events []store.Event
	for _, kv := range find(state, "", "\x00") {
		if kv.Lease == id {
			delete(state, string(kv.Key))
			events = append(events, store.Event{Type: store.EventDelete, KV: &store.KV{Key: kv.Key, ModRevision: m.revision() + 1}, PrevKV: &kv})
		}
	}
	delete(m.leases, id)
	m.commit(state, events)
}

func describe(kvs []store.KV) string {
	var b bytes.Buffer
	for _, kv := range kvs {
		fmt.Fprintf(&b, "[%s=%s c%d m%d v%d l%d]", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease)
	}
	return b.String()
}

// describeTxn writes a result as model.txn does.
func describeTxn(res store.TxnResult) string {
	text := fmt.Sprint(res.Succeeded)
	for _, r := range res.Responses {
		switch {
		case r.Range != nil:
			text += " range" + describe(r.Range.KVs)
		case r.Put != nil:
			text += " put"
			if r.Put.PrevKV != nil {
				text += describe([]store.KV{*r.Put.PrevKV})
			}
		case r.Delete != nil:
			text += " delete" + describe(r.Delete.PrevKVs)
		case r.Txn != nil:
			text += " (" + describeTxn(*r.Txn) + ")"
		}
	}
	return text
}

// generator makes random requests over few keys, so that they meet.
type generator struct{ *rand.Rand }

func (g generator) key() string { return fmt.Sprintf("k%d", g.IntN(12)) }

func (g generator) span() (string, string) {
	switch g.IntN(4) {
	case 0:
		return g.key(), "\x00"
	case 1:
		return g.key(), g.key()
	case 2:
		return "k1", "k2"
	default:
		return g.key(), ""
	}
}

func (g generator) txn(m *model, depth int) store.Txn {
	var txn store.Txn
	for range g.IntN(3) {
		start, end := g.span()
		c := store.Compare{Key: []byte(start), End: []byte(end), Target: store.CompareTarget(g.IntN(5)), Op: store.CompareOp(g.IntN(4))}
		switch c.Target {
		case store.CompareValue:
			c.Value = []byte(fmt.Sprint(g.IntN(5)))
		case store.CompareCreate, store.CompareMod:
			c.Number = g.Int64N(m.revision() + 2)
		default:
			c.Number = g.Int64N(3)
		}
		txn.Compares = append(txn.Compares, c)
	}
	for _, ops := range []*[]store.Op{&txn.Then, &txn.Else} {
		for range g.IntN(4) {
			start, end := g.span()
			var op store.Op
			switch g.IntN(5) {
			case 0:
				op.Range = &store.RangeRequest{Key: []byte(start), End: []byte(end)}
			case 1:
				op.Delete = &store.DeleteRequest{Key: []byte(start), End: []byte(end), PrevKV: true}
			case 2:
				if depth < 2 {
					nested := g.txn(m, depth+1)
					op.Txn = &nested
					break
				}
				fallthrough
			default:
				op.Put = &store.PutRequest{Key: []byte(start), Value: []byte(fmt.Sprint(g.IntN(5))), PrevKV: true}
				if id := g.Int64N(4); m.leases[id] {
					op.Put.Lease = id
				}
			}
			*ops = append(*ops, op)
		}
	}
	return txn
}

func testModel(t *testing.T, opener Opener) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := generator{rand.New(rand.NewPCG(seed, 7))}
			m := newModel()
			s := Open(t, opener, store.Config{})
			for range 2000 {
				step(t, g, m, s)
			}
			require.Greater(t, m.revision(), int64(300))
			require.Greater(t, m.compacted, int64(1))
			w := watchFrom(t, s, store.WatchRequest{Key: []byte{0}, End: []byte{0}, Revision: m.compacted + 1, PrevKV: true})
			var events []store.Event
			for {
				batch, err := w.TryNext()
				require.NoError(t, err)
				if len(batch.Events) == 0 {
					break
				}
				events = append(events, batch.Events...)
			}
			for revision := m.compacted + 1; revision <= m.revision(); revision++ {
				n := slices.IndexFunc(events, func(e store.Event) bool { return e.KV.ModRevision != revision })
				if n < 0 {
					n = len(events)
				}
				require.Equal(t, m.events[revision], history(events[:n]), "events of revision %d", revision)
				events = events[n:]
			}
			require.Empty(t, events)
		})
	}
}

func step(t *testing.T, g generator, m *model, s Store) {
	ctx := t.Context()
	switch g.IntN(12) {
	case 0, 1, 2:
		start, end := g.span()
		revision := m.compacted + g.Int64N(m.revision()-m.compacted+1)
		revision = max(1, revision)
		res, err := s.Range(ctx, store.RangeRequest{Key: []byte(start), End: []byte(end), Revision: revision})
		require.NoError(t, err)
		require.Equal(t, describe(find(m.states[revision], start, end)), describe(res.KVs), "at %d", revision)
		require.Equal(t, m.revision(), res.Revision)
	case 3:
		id := 1 + g.Int64N(3)
		_, err := s.Grant(ctx, id, time.Hour)
		if m.leases[id] {
			require.ErrorIs(t, err, store.ErrLeaseExists)
		} else {
			require.NoError(t, err)
		}
		m.leases[id] = true
	case 4:
		id := 1 + g.Int64N(3)
		revision, err := s.Revoke(ctx, id)
		if !m.leases[id] {
			require.ErrorIs(t, err, store.ErrLeaseNotFound)
			return
		}
		require.NoError(t, err)
		m.revoke(id)
		require.Equal(t, m.revision(), revision)
	case 5:
		if g.IntN(10) > 0 {
			return
		}
		revision := m.compacted + g.Int64N(m.revision()-m.compacted+3)
		err := s.Compact(ctx, revision)
		switch {
		case revision <= m.compacted:
			require.ErrorIs(t, err, store.ErrCompacted)
		case revision > m.revision():
			require.ErrorIs(t, err, store.ErrFutureRevision)
		default:
			require.NoError(t, err)
			m.compacted = revision
		}
	default:
		txn := g.txn(m, 0)
		res, err := s.Txn(ctx, txn)
		if errors.Is(err, store.ErrDuplicateKey) {
			require.True(t, repeats(txn), "%+v has no duplicate key", txn)
			return
		}
		require.NoError(t, err)
		require.Equal(t, m.txn(txn), describeTxn(res))
		require.Equal(t, m.revision(), res.Revision)
	}
}

// repeats reports whether some way through the transaction puts a key twice, or puts and deletes it: every way is
// tried.
func repeats(txn store.Txn) bool {
	type change struct {
		start, end string
		put        bool
	}
	var ways func(txn store.Txn) [][]change
	ways = func(txn store.Txn) [][]change {
		var all [][]change
		for _, ops := range [][]store.Op{txn.Then, txn.Else} {
			branch := [][]change{nil}
			for _, op := range ops {
				more := [][]change{nil}
				switch {
				case op.Put != nil:
					more = [][]change{{{string(op.Put.Key), "", true}}}
				case op.Delete != nil:
					more = [][]change{{{string(op.Delete.Key), string(op.Delete.End), false}}}
				case op.Txn != nil:
					more = ways(*op.Txn)
				}
				var product [][]change
				for _, a := range branch {
					for _, b := range more {
						product = append(product, append(slices.Clone(a), b...))
					}
				}
				branch = product
			}
			all = append(all, branch...)
		}
		return all
	}
	for _, way := range ways(txn) {
		sort.SliceStable(way, func(i, j int) bool { return way[i].put && !way[j].put })
		for i, a := range way {
			for _, b := range way[i+1:] {
				if a.put && inRange(a.start, b.start, b.end) {
					return true
				}
			}
		}
	}
	return false
}
