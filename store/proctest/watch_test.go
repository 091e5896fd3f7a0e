//go:build unix

package proctest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// follower watches everything, at one member until that fails, and then at the next, from where it was.
type follower struct {
	c       *cluster
	stop    context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	arrived chan struct{} // closed when last rises
	last    int64         // the revision of the newest event
	moves   int
	events  map[int64]string
	times   map[string]int64 // when a key and value came
	wrong   []string
}

// follow follows the members that which returns for rising numbers.
func follow(c *cluster, which func(at int) string) *follower {
	ctx, cancel := context.WithCancel(c.t.Context())
	f := &follower{c: c, stop: cancel, last: 1, events: map[int64]string{}, times: map[string]int64{}, arrived: make(chan struct{})}
	f.running.Go(func() {
		for at := 0; ctx.Err() == nil; at++ {
			if f.watch(ctx, which(at)) > 0 {
				f.moves++
			}
		}
	})
	return f
}

// turns goes from one to the next.
func turns(names ...string) func(int) string {
	return func(at int) string { return names[at%len(names)] }
}

// watch follows one member, and returns how many events that had when it fails.
func (f *follower) watch(ctx context.Context, member string) (events int) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pb.NewWatchClient(f.c.node(member).conn).Watch(ctx)
	if err != nil {
		return 0
	}
	err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: f.last + 1,
	}}})
	if err != nil {
		return 0
	}
	for {
		res, err := stream.Recv()
		if err != nil {
			return events
		}
		if res.Canceled {
			f.fails("the watch at %s was cancelled: %s, compacted at %d", member, res.CancelReason, res.CompactRevision)
			return events
		}
		for _, e := range res.Events {
			events++
			f.take(member, e.Kv)
		}
	}
}

// take takes an event: each of the load's writes has a revision of its own.
func (f *follower) take(member string, kv *mvccpb.KeyValue) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if kv.ModRevision != f.last+1 {
		f.wrong = append(f.wrong, fmt.Sprintf("revision %d came from %s after %d", kv.ModRevision, member, f.last))
	}
	f.last = kv.ModRevision
	text := string(kv.Key) + "=" + string(kv.Value)
	f.events[kv.ModRevision], f.times[text] = text, time.Now().UnixNano()
	close(f.arrived)
	f.arrived = make(chan struct{})
}

func (f *follower) fails(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrong = append(f.wrong, fmt.Sprintf(format, args...))
}

// reach waits until all there is up to a revision has been seen.
func (f *follower) reach(revision int64) {
	f.c.t.Helper()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for {
		f.mu.Lock()
		last, arrived := f.last, f.arrived
		f.mu.Unlock()
		if last >= revision {
			return
		}
		select {
		case <-arrived:
		case <-late.C:
			require.Fail(f.c.t, "the watch did not get there", "revision %d of %d", last, revision)
		}
	}
}

// finish ends the watch at a revision and compares what it saw with the contents.
func (f *follower) finish(revision int64, contents map[string]*mvccpb.KeyValue, minMoves int) {
	t := f.c.t
	t.Helper()
	f.reach(revision)
	f.stop()
	f.running.Wait()
	require.Empty(t, f.wrong)
	require.EqualValues(t, revision-1, len(f.events))
	for key, kv := range contents {
		require.Equal(t, key+"="+string(kv.Value), f.events[kv.ModRevision])
	}
	require.GreaterOrEqual(t, f.moves, minMoves, "the watch went from member to member")
}
