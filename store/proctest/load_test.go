//go:build unix

package proctest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// load is clients at all members, and what they were told.
type load struct {
	c       *cluster
	timeout atomic.Int64 // of a request, in nanoseconds
	strict  atomic.Bool  // requests fail only as clients retry by themselves
	stop    context.CancelFunc
	running sync.WaitGroup
	hot     atomic.Int64 // which keys are shared now
	watch   *follower    // sees all there is

	mu      sync.Mutex
	members []string
	moved   chan struct{} // closed when acked rises
	acked   int
	unique  map[string]bool // keys put once, acknowledged
	counts  map[string]int  // counters' values, acknowledged
	history []porcupine.Operation
	errors  map[codes.Code]int
	wrong   []string
}

// loadPace is how long a client waits between requests, so that history stays of a size that can be checked.
const loadPace = 2 * time.Millisecond

// drive starts n clients, spread over the members named, which may come and go.
func drive(c *cluster, n int, members ...string) *load {
	ctx, cancel := context.WithCancel(c.t.Context())
	l := &load{
		c: c, stop: cancel, moved: make(chan struct{}),
		unique: map[string]bool{}, counts: map[string]int{}, errors: map[codes.Code]int{}, members: slices.Clone(members),
	}
	l.timeout.Store(int64(10 * time.Second))
	l.watch = follow(c, l.member)
	for id := range n {
		l.running.Go(func() { (&client{load: l, id: id, at: id}).run(ctx) })
	}
	return l
}

func (l *load) member(at int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.members[at%len(l.members)]
}

// move tells the clients of another member instead of an old one.
func (l *load) move(old, fresh string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.members[slices.Index(l.members, old)] = fresh
}

// fails notes what must not be.
func (l *load) fails(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
}

// count returns the number of acknowledged writes.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked
}

// await waits for n more acknowledged writes.
func (l *load) await(n int) {
	l.c.t.Helper()
	target := l.count() + n
	l.awaitThat("writes did not resume", func() bool { return l.acked >= target })
}

// awaitError waits until some request has failed, while others succeed.
func (l *load) awaitError() {
	l.c.t.Helper()
	l.awaitThat("no request failed", func() bool { return len(l.errors) > 0 })
}

// awaitThat looks with every acknowledged write whether something, which is said under the lock, is so.
func (l *load) awaitThat(otherwise string, so func() bool) {
	l.c.t.Helper()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for {
		l.mu.Lock()
		reached, moved := so(), l.moved
		l.mu.Unlock()
		if reached {
			return
		}
		select {
		case <-moved:
		case <-late.C:
			for _, name := range l.c.names() {
				if p := l.c.process(name); p != nil {
					l.c.t.Logf("member %s\n%s", name, p.tail())
				}
			}
			require.Fail(l.c.t, otherwise)
		}
	}
}

func (l *load) ack(note func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked++
	note()
	close(l.moved)
	l.moved = make(chan struct{})
}

// client is one of them. It asks one member until that fails, and then the next.
type client struct {
	load     *load
	id, at   int
	revision int64 // the newest it was told
	unique   int
	count    int
	unsure   bool // whether count is one more
}

func (c *client) run(ctx context.Context) {
	pace := time.NewTicker(loadPace)
	defer pace.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		var err error
		switch n % 4 {
		case 0:
			err = c.put(ctx)
		case 1:
			err = c.increment(ctx)
		default:
			err = c.share(ctx)
		}
		if err != nil {
			c.at++ // whatever it was, another member may do better
			code := status.Code(err)
			c.load.mu.Lock()
			c.load.errors[code]++
			c.load.mu.Unlock()
			if c.load.strict.Load() && code != codes.Unavailable && ctx.Err() == nil {
				c.load.fails("client %d: %v", c.id, err)
			}
		}
		select {
		case <-pace.C:
		case <-ctx.Done():
		}
	}
}

// kv is the API of the member that the client is at.
func (c *client) kv() pb.KVClient {
	return pb.NewKVClient(c.load.c.node(c.load.member(c.at)).conn)
}

// told checks that the revision never falls.
func (c *client) told(h *pb.ResponseHeader) {
	if h.Revision < c.revision {
		c.load.fails("client %d was told of revision %d after %d", c.id, h.Revision, c.revision)
	}
	c.revision = h.Revision
}

// request bounds one request. The load's end does not end it: its outcome would be unknown.
func (c *client) request(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Duration(c.load.timeout.Load()))
}

// put writes a key that nobody else writes.
func (c *client) put(ctx context.Context) error {
	ctx, cancel := c.request(ctx)
	defer cancel()
	c.unique++
	key := fmt.Sprintf("unique/%d/%d", c.id, c.unique)
	res, err := c.kv().Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(key)})
	if err != nil {
		return err
	}
	c.told(res.Header)
	c.load.ack(func() { c.load.unique[key] = true })
	return nil
}

// increment adds one to the client's own counter if it has the value that the client believes.
func (c *client) increment(ctx context.Context) error {
	ctx, cancel := c.request(ctx)
	defer cancel()
	key := fmt.Append(nil, "counter/", c.id)
	if c.unsure {
		res, err := c.kv().Range(ctx, &pb.RangeRequest{Key: key})
		if err != nil {
			return err
		}
		c.told(res.Header)
		value := 0
		if len(res.Kvs) == 1 {
			value, _ = strconv.Atoi(string(res.Kvs[0].Value))
		}
		if value != c.count && value != c.count+1 {
			c.load.fails("counter %d is %d after %d", c.id, value, c.count)
		}
		// A write may still be on its way. One that comes later meets a compare that fails, once this one is through.
		c.count = value
	}
	compare := &pb.Compare{Key: key, Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte(strconv.Itoa(c.count))}}
	if c.count == 0 {
		compare = &pb.Compare{Key: key, Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{}}
	}
	next := strconv.Itoa(c.count + 1)
	res, err := c.kv().Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{compare},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: []byte(next)}}}},
	})
	if err != nil {
		c.unsure = true
		return err
	}
	c.told(res.Header)
	if !res.Succeeded {
		if !c.unsure {
			c.load.fails("counter %d is not %d any more: something was applied twice, or lost", c.id, c.count)
		}
		return nil // an earlier write came through after all: it is read again
	}
	c.count++
	c.unsure = false
	c.load.ack(func() { c.load.counts[string(key)] = c.count })
	return nil
}

// unknown is when a request returned that failed: it may be carried out later, or never.
const unknown = 1 << 62

// sharedKeys is how many keys all clients share at a time.
const sharedKeys = 3

type sharedInput struct {
	key, put string // put is empty for a get
}

// share puts or gets a key that all clients put and get.
func (c *client) share(ctx context.Context) error {
	ctx, cancel := c.request(ctx)
	defer cancel()
	in := sharedInput{key: fmt.Sprintf("shared/%d/%d", c.load.hot.Load(), rand.IntN(sharedKeys))}
	if rand.IntN(2) == 0 {
		c.unique++
		in.put = fmt.Sprintf("%d-%d", c.id, c.unique)
	}
	op := porcupine.Operation{ClientId: c.id, Input: in, Call: time.Now().UnixNano()}
	var err error
	if in.put != "" {
		var res *pb.PutResponse
		if res, err = c.kv().Put(ctx, &pb.PutRequest{Key: []byte(in.key), Value: []byte(in.put)}); err == nil {
			c.told(res.Header)
			c.load.ack(func() {})
		}
	} else {
		var res *pb.RangeResponse
		if res, err = c.kv().Range(ctx, &pb.RangeRequest{Key: []byte(in.key)}); err == nil {
			c.told(res.Header)
			op.Output = ""
			if len(res.Kvs) == 1 {
				op.Output = string(res.Kvs[0].Value)
			}
		}
	}
	op.Return = time.Now().UnixNano()
	if err != nil {
		if in.put == "" {
			return err
		}
		op.Return = unknown
	}
	c.load.mu.Lock()
	c.load.history = append(c.load.history, op)
	c.load.mu.Unlock()
	return err
}

// register is what each shared key should be like.
func register() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			keys := map[string][]porcupine.Operation{}
			for _, op := range history {
				key := op.Input.(sharedInput).key
				keys[key] = append(keys[key], op)
			}
			var parts [][]porcupine.Operation
			for _, part := range keys {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			if put := input.(sharedInput).put; put != "" {
				return true, put
			}
			return output == state, state
		},
	}
}

// finish ends the clients and checks all they were told against every member named.
func (l *load) finish(members ...string) {
	t := l.c.t
	t.Helper()
	l.stop()
	l.running.Wait()
	l.watch.finish(l.c.serves(members[0]).Revision, l.contents(t, members[0]), 0)
	var first []string
	for _, name := range members {
		has := l.contents(t, name)
		var all []string
		for key, kv := range has {
			all = append(all, fmt.Sprintf("%s=%s@%d,%d,%d", key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version))
		}
		if first == nil {
			first = all
		}
		require.ElementsMatch(t, first, all, "member %s and %s differ", members[0], name)
		for key := range l.unique {
			require.NotNil(t, has[key], "%s was acknowledged, and member %s lacks it", key, name)
			require.EqualValues(t, 1, has[key].Version, "%s was applied more than once", key)
		}
		for key, count := range l.counts {
			require.NotNil(t, has[key], "%s was acknowledged, and member %s lacks it", key, name)
			require.Equal(t, strconv.FormatInt(has[key].Version, 10), string(has[key].Value), "%s: each write adds one", key)
			require.GreaterOrEqual(t, has[key].Version, int64(count), "%s at member %s", key, name)
		}
	}
	require.NotEmpty(t, l.unique)
	require.NotEmpty(t, l.counts)
	require.Empty(t, l.wrong)
	require.Greater(t, len(l.history), 20)
	history := l.known()
	require.Equal(t, porcupine.Ok, porcupine.CheckOperationsTimeout(register(), history, time.Minute), "shared keys are linearizable")
	t.Logf("%d writes acknowledged, %d operations checked for linearizability, errors %v", l.acked, len(l.history), l.errors)
}

// known is the history with what the watch tells of unknown outcomes: a put whose event never came was never carried
// out, and one whose event came was by then. The checker has much less to try so.
func (l *load) known() (history []porcupine.Operation) {
	for _, op := range l.history {
		in := op.Input.(sharedInput)
		if at, found := l.watch.times[in.key+"="+in.put]; op.Return == unknown {
			if !found {
				continue
			}
			op.Return = max(at, op.Call)
		}
		history = append(history, op)
	}
	return history
}

// contents reads everything at a member.
func (l *load) contents(t *testing.T, name string) map[string]*mvccpb.KeyValue {
	t.Helper()
	l.c.serves(name)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	all := map[string]*mvccpb.KeyValue{}
	kv := pb.NewKVClient(l.c.node(name).conn)
	for key := []byte{0}; ; {
		res, err := kv.Range(ctx, &pb.RangeRequest{Key: key, RangeEnd: []byte{0}, Limit: 5000})
		if status.Code(err) == codes.Unavailable && ctx.Err() == nil {
			continue // the connection has not noticed yet that the member is back
		}
		require.NoError(t, err)
		for _, kv := range res.Kvs {
			all[string(kv.Key)] = kv
		}
		if !res.More {
			return all
		}
		key = append(res.Kvs[len(res.Kvs)-1].Key, 0)
	}
}
