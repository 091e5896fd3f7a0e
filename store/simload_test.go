package store_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/keelson-dev/keelson/store"
)

// simRecord is an operation of a client. Its revision is the store's as the answer tells it: a read sees exactly that,
// and a write that changed something made it.
type simRecord struct {
	client    int
	member    string
	call, ret int64
	text      string
	err       error
	revision  int64 // 0 if there is none
	wrote     bool
	loose     bool                  // a serializable read, which may be old
	check     func(s *story) string // what is wrong with the answer, told all that has happened
}

func (r *simRecord) String() string {
	text := fmt.Sprintf("%d-%d client %d at %s: %s", r.call, r.ret, r.client, r.member, r.text)
	if r.err != nil {
		return text + ": " + r.err.Error()
	}
	return fmt.Sprintf("%s: revision %d", text, r.revision)
}

func (sim *simulation) record(r *simRecord) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.records = append(sim.records, r)
}

// simExpected reports whether an error is one that a client may get while members come and go.
func simExpected(err error) bool {
	for _, expected := range []error{store.ErrClosed, store.ErrUnknownOutcome, store.ErrNotMember, store.ErrFailed, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, expected) {
			return true
		}
	}
	return false
}

// attempt runs an operation with a time-out, which now and then is too short, or the caller loses patience. It reports
// whether there is an answer.
func (sim *simulation) attempt(ctx context.Context, rnd *rand.Rand, r *simRecord, f func(ctx context.Context) error) bool {
	timeout := 3 * time.Second
	if rnd.IntN(15) == 0 {
		timeout = time.Duration(1+rnd.IntN(8)) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if rnd.IntN(30) == 0 {
		time.AfterFunc(time.Duration(rnd.IntN(4000))*time.Microsecond, cancel)
	}
	r.call = sim.stamp()
	r.err = f(ctx)
	r.ret = sim.stamp()
	if r.err != nil {
		r.ret, r.revision, r.check = math.MaxInt64, 0, nil
		if !simExpected(r.err) && !errors.Is(r.err, store.ErrCompacted) && !errors.Is(r.err, store.ErrLeaseNotFound) {
			sim.problem("client %d at %s: %s: %v", r.client, r.member, r.text, r.err)
		}
	}
	sim.record(r)
	return r.err == nil
}

// The sequential specification of the registers, each by itself, and of the accounts together.
type simInput struct {
	kind          string // read, write, swap; look, move
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
				return !out.swapped && (out.unknown || out.value == state), state
			}
		},
	}
}

func (sim *simulation) acknowledged() (n int) {
	for _, r := range sim.records {
		if r.wrote && r.err == nil {
			n++
		}
	}
	return n
}

// registers reads, writes and swaps, each time on any member. Each write is of two keys, so that half of one would be
// seen.
func (sim *simulation) registers(ctx context.Context, id int, rnd *rand.Rand) {
	known := map[string]string{}
	for i := 0; ctx.Err() == nil; i++ {
		name, s := sim.any(rnd)
		in := simInput{kind: []string{"read", "read", "write", "swap"}[rnd.IntN(4)], key: fmt.Sprintf("k%d", rnd.IntN(3))}
		in.value, in.expect = fmt.Sprintf("%d.%d", id, i), known[in.key]
		if s != nil {
			r := &simRecord{client: id, member: name, text: fmt.Sprintf("%s %s %q %q", in.kind, in.key, in.expect, in.value)}
			var out simOutput
			ok := sim.attempt(ctx, rnd, r, func(ctx context.Context) (err error) {
				out, err = sim.register(ctx, s, in, r)
				return err
			})
			r.text += " -> " + fmt.Sprintf("%q %v", out.value, out.swapped)
			switch {
			case ok:
				known[in.key] = in.value
				if in.kind == "read" || in.kind == "swap" && !out.swapped {
					known[in.key] = out.value
				}
				if r.wrote && rnd.IntN(3) == 0 {
					sim.own(ctx, s, r, in.key)
				}
			default: // a write may still happen, any time
				out = simOutput{unknown: true}
			}
			if ok || in.kind != "read" {
				sim.mu.Lock()
				sim.history = append(sim.history, porcupine.Operation{ClientId: id, Input: in, Call: r.call, Output: out, Return: r.ret})
				sim.mu.Unlock()
			}
		}
		pause(ctx, time.Duration(rnd.Int64N(int64(300*time.Millisecond))))
	}
}

// own checks that the member that has acknowledged a write has it, for who reads there without asking further.
func (sim *simulation) own(ctx context.Context, s *store.Store, wrote *simRecord, key string) {
	r := &simRecord{client: wrote.client, member: wrote.member, call: sim.stamp(), loose: true, text: "serializable read of " + key}
	res, err := s.Range(ctx, store.RangeRequest{Key: []byte(key), Serializable: true})
	r.ret, r.err, r.revision = sim.stamp(), err, res.Revision
	if err == nil && res.Revision < wrote.revision {
		sim.problem("client %d at %s wrote revision %d and then reads at %d", r.client, r.member, wrote.revision, res.Revision)
	}
	sim.record(r)
}

func (sim *simulation) register(ctx context.Context, s *store.Store, in simInput, r *simRecord) (simOutput, error) {
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
	r.revision, r.wrote = res.Revision, res.Succeeded
	out := simOutput{swapped: in.kind == "swap" && res.Succeeded}
	if res.Succeeded {
		r.check = func(s *story) string { return s.made(res.Revision, in.value, in.key, "mirror/"+in.key) }
	} else if kvs := res.Responses[0].Range.KVs; len(kvs) > 0 {
		out.value = string(kvs[0].Value)
	}
	return out, nil
}

// accounts are three keys that change together, so that porcupine sees them as one: a client looks at all of them, and
// writes new values to two if nothing has changed meanwhile.
func (sim *simulation) accounts(ctx context.Context, id int, rnd *rand.Rand) {
	keys := []string{"t0", "t1", "t2"}
	var looks []store.Op
	for _, key := range keys {
		looks = append(looks, store.Op{Range: &store.RangeRequest{Key: []byte(key)}})
	}
	seen := []string{"", "", ""}
	for i := 0; ctx.Err() == nil; i++ {
		pause(ctx, time.Duration(rnd.Int64N(int64(1200*time.Millisecond))))
		name, s := sim.any(rnd)
		if s == nil {
			continue
		}
		in := simInput{kind: "read", key: "accounts", expect: strings.Join(seen, ",")}
		txn := store.Txn{Then: looks}
		next := append([]string(nil), seen...)
		if rnd.IntN(3) > 0 {
			in.kind = "swap"
			at := rnd.IntN(3)
			txn = store.Txn{Else: looks}
			for j, key := range keys {
				compare := store.Compare{Key: []byte(key), Target: store.CompareValue, Value: []byte(seen[j])}
				if seen[j] == "" {
					compare = store.Compare{Key: []byte(key), Target: store.CompareVersion}
				}
				txn.Compares = append(txn.Compares, compare)
				if j != at {
					next[j] = fmt.Sprintf("%d.%d", id, i)
					txn.Then = append(txn.Then, store.Op{Put: &store.PutRequest{Key: []byte(key), Value: []byte(next[j])}})
				}
			}
			in.value = strings.Join(next, ",")
		}
		r := &simRecord{client: id, member: name, text: fmt.Sprintf("accounts %s %q %q", in.kind, in.expect, in.value)}
		var out simOutput
		ok := sim.attempt(ctx, rnd, r, func(ctx context.Context) error {
			res, err := s.Txn(ctx, txn)
			if err != nil {
				return err
			}
			r.revision = res.Revision
			if out.swapped = in.kind == "swap" && res.Succeeded; out.swapped {
				r.wrote = true
				return nil
			}
			var values []string
			for _, response := range res.Responses {
				value := ""
				if kvs := response.Range.KVs; len(kvs) > 0 {
					value = string(kvs[0].Value)
				}
				values = append(values, value)
			}
			out.value = strings.Join(values, ",")
			r.check = func(s *story) string {
				for j, key := range keys {
					if kv := s.at(key, res.Revision); kv == nil && values[j] != "" || kv != nil && string(kv.Value) != values[j] {
						return fmt.Sprintf("%s was %q, and is %s at revision %d", key, values[j], describeKV(kv), res.Revision)
					}
				}
				return ""
			}
			return nil
		})
		r.text += " -> " + fmt.Sprintf("%q %v", out.value, out.swapped)
		switch {
		case !ok:
			out = simOutput{unknown: true}
		case out.swapped:
			seen = next
		default:
			seen = strings.Split(out.value, ",")
		}
		if in.expect == ",," && in.kind == "swap" {
			in.expect = "" // the model's beginning
		}
		if out.value == ",," {
			out.value = ""
		}
		if ok || in.kind == "swap" {
			sim.mu.Lock()
			sim.history = append(sim.history, porcupine.Operation{ClientId: id, Input: in, Call: r.call, Output: out, Return: r.ret})
			sim.mu.Unlock()
		}
	}
}

// mixture puts, deletes, and reads ranges, now and at older revisions. All answers are compared with what happened.
func (sim *simulation) mixture(ctx context.Context, id int, rnd *rand.Rand) {
	for i := 0; ctx.Err() == nil; i++ {
		pause(ctx, time.Duration(rnd.Int64N(int64(400*time.Millisecond))))
		name, s := sim.any(rnd)
		if s == nil {
			continue
		}
		r := &simRecord{client: id, member: name}
		key, value := fmt.Sprintf("d%d", rnd.IntN(5)), fmt.Sprintf("%d.%d", id, i)
		switch rnd.IntN(8) {
		case 0, 1:
			r.text = "put " + key + " " + value
			sim.attempt(ctx, rnd, r, func(ctx context.Context) error {
				res, err := s.Put(ctx, store.PutRequest{Key: []byte(key), Value: []byte(value), PrevKV: true})
				r.revision, r.wrote = res.Revision, err == nil
				r.check = func(s *story) string {
					if before := s.at(key, res.Revision-1); describeKV(before) != describeKV(res.PrevKV) {
						return fmt.Sprintf("before was %s, the answer says %s", describeKV(before), describeKV(res.PrevKV))
					}
					return s.made(res.Revision, value, key)
				}
				return err
			})
		case 2:
			end := ""
			if rnd.IntN(3) == 0 {
				end = "d9"
			}
			r.text = "delete " + key + " to " + end
			sim.attempt(ctx, rnd, r, func(ctx context.Context) error {
				res, err := s.Delete(ctx, store.DeleteRequest{Key: []byte(key), End: []byte(end)})
				r.revision, r.wrote = res.Revision, err == nil && res.Deleted > 0
				r.check = func(s *story) string {
					if there := s.scan(key, end, res.Revision-1); res.Deleted > 0 && int64(len(there)) != res.Deleted {
						return fmt.Sprintf("%d keys were deleted, and there were %d", res.Deleted, len(there))
					}
					if left := s.scan(key, end, res.Revision); len(left) > 0 {
						return fmt.Sprintf("%d keys are left", len(left))
					}
					return ""
				}
				return err
			})
		case 3: // a transaction with a nested one, of keys that nobody else compares
			r.text = "transaction " + key + " " + value
			sim.attempt(ctx, rnd, r, func(ctx context.Context) error {
				res, err := s.Txn(ctx, store.Txn{
					Compares: []store.Compare{{Key: []byte(key), Target: store.CompareVersion, Op: store.Greater}},
					Then: []store.Op{
						{Delete: &store.DeleteRequest{Key: []byte(key)}},
						{Txn: &store.Txn{Then: []store.Op{{Put: &store.PutRequest{Key: []byte("e/" + key), Value: []byte(value)}}}}},
					},
					Else: []store.Op{{Put: &store.PutRequest{Key: []byte(key), Value: []byte(value)}}},
				})
				r.revision, r.wrote = res.Revision, err == nil
				r.check = func(s *story) string {
					existed := s.at(key, res.Revision-1) != nil
					if existed != res.Succeeded {
						return fmt.Sprintf("it took the branch of %v, and the key was there: %v", res.Succeeded, existed)
					}
					if existed {
						return s.made(res.Revision, value, "e/"+key)
					}
					return s.made(res.Revision, value, key)
				}
				return err
			})
		default:
			sim.mu.Lock()
			known := sim.known
			sim.mu.Unlock()
			req := store.RangeRequest{Key: []byte(key), End: []byte("l"), Limit: rnd.Int64N(4), CountOnly: rnd.IntN(6) == 0, SortDescend: rnd.IntN(5) == 0, Serializable: rnd.IntN(6) == 0}
			if rnd.IntN(2) == 0 {
				req.Revision = max(1, known-rnd.Int64N(80))
			}
			r.text = fmt.Sprintf("range %+v", req)
			r.loose = req.Serializable
			sim.attempt(ctx, rnd, r, func(ctx context.Context) error {
				res, err := s.Range(ctx, req)
				if errors.Is(err, store.ErrFutureRevision) && req.Serializable {
					return store.ErrClosed // the member is behind
				}
				r.revision = res.Revision
				r.check = func(s *story) string { return s.sameRange(req, res) }
				return err
			})
		}
	}
}

// keep grants leases and keeps each alive for a while.
func (sim *simulation) keep(ctx context.Context, who int64, rnd *rand.Rand) {
	const ttl = 1500 * time.Millisecond
	for n := int64(1); ctx.Err() == nil; n++ {
		id := 2*n + who
		key := fmt.Sprintf("lease/%d", id)
		note := func(began time.Time, err error) error {
			if err == nil {
				sim.mu.Lock()
				sim.alive[id] = began.Add(ttl)
				sim.mu.Unlock()
			}
			return err
		}
		each := func(text string, f func(ctx context.Context, s *store.Store, r *simRecord) error) bool {
			name, s := sim.any(rnd)
			if s == nil {
				return false
			}
			r := &simRecord{client: 30 + int(who), member: name, text: text + " " + key}
			return sim.attempt(ctx, rnd, r, func(ctx context.Context) error { return f(ctx, s, r) })
		}
		put := func(lease int64) bool {
			return each(fmt.Sprintf("put with lease %d", lease), func(ctx context.Context, s *store.Store, r *simRecord) error {
				res, err := s.Put(ctx, store.PutRequest{Key: []byte(key), Lease: lease})
				if r.revision, r.wrote = res.Revision, err == nil; err == nil && lease == 0 {
					sim.mu.Lock()
					sim.freed[key] = res.Revision
					sim.mu.Unlock()
				}
				return err
			})
		}
		granted := each("grant", func(ctx context.Context, s *store.Store, _ *simRecord) error {
			began := time.Now()
			_, err := s.Grant(ctx, id, ttl)
			return note(began, err)
		})
		if !granted || !put(id) {
			pause(ctx, 50*time.Millisecond)
			continue
		}
		for range 4 + rnd.IntN(16) {
			each("keep alive", func(ctx context.Context, s *store.Store, _ *simRecord) error {
				began := time.Now()
				_, err := s.KeepAlive(ctx, id)
				return note(began, err)
			})
			pause(ctx, 200*time.Millisecond)
		}
		switch rnd.IntN(4) {
		case 0:
			put(0)
		case 1:
			sim.mu.Lock()
			delete(sim.alive, id)
			sim.mu.Unlock()
			each("revoke", func(ctx context.Context, s *store.Store, _ *simRecord) error {
				_, err := s.Revoke(ctx, id)
				return err
			})
		}
	}
}
