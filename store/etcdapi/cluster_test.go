package etcdapi_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/etcdapi"
)

// cluster is members in a bubble, each with its API.
type cluster struct {
	t     *testing.T
	mu    sync.Mutex
	peers map[string]*memnet.Listener
	conns map[string]*grpc.ClientConn
	stops map[string]func()
}

func newCluster(t *testing.T, names ...string) *cluster {
	c := &cluster{t: t, peers: map[string]*memnet.Listener{}, conns: map[string]*grpc.ClientConn{}, stops: map[string]func(){}}
	for _, name := range names {
		c.listen(name)
	}
	for _, name := range names {
		c.open(name, names, false)
	}
	return c
}

func addrOf(name string) string { return name + ":2380" }

func (c *cluster) listen(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peers[addrOf(name)] = memnet.Listen(addrOf(name))
}

func (c *cluster) dial(ctx context.Context, addr string) (net.Conn, error) {
	c.mu.Lock()
	l := c.peers[addr]
	c.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("nobody is at %s", addr)
	}
	return l.Dial(ctx)
}

func (c *cluster) open(name string, names []string, join bool) {
	var peers []store.Peer
	for _, n := range names {
		peers = append(peers, store.Peer{Name: n, Addr: addrOf(n)})
	}
	s, err := store.Open(c.t.Context(), store.Config{
		Name: name, Peers: peers, Join: join, MemoryDisk: &store.MemoryDisk{}, Listener: c.peers[addrOf(name)], Dial: c.dial,
		ClientURLs: []string{"http://" + name + ":2379"},
	})
	require.NoError(c.t, err)
	l := memnet.Listen(name)
	server := grpc.NewServer()
	api := etcdapi.New(s, etcdapi.Config{})
	api.Register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	conn, err := dial(l)
	require.NoError(c.t, err)
	c.conns[name] = conn
	c.stops[name] = sync.OnceFunc(func() {
		require.NoError(c.t, s.Close())
		require.NoError(c.t, api.Close())
		server.GracefulStop()
		require.NoError(c.t, <-served)
		require.NoError(c.t, conn.Close())
		require.NoError(c.t, l.Close())
	})
	c.t.Cleanup(c.stops[name])
}

func (c *cluster) members(name string) map[string]*pb.Member {
	list, err := pb.NewClusterClient(c.conns[name]).MemberList(c.t.Context(), &pb.MemberListRequest{Linearizable: true})
	require.NoError(c.t, err)
	byName := map[string]*pb.Member{}
	for _, m := range list.Members {
		byName[m.Name] = m
	}
	return byName
}

// leader returns the name of the member that leads, as all tell.
func (c *cluster) leader() (leader string) {
	for name, conn := range c.conns {
		st, err := pb.NewMaintenanceClient(conn).Status(c.t.Context(), &pb.StatusRequest{})
		require.NoError(c.t, err)
		if st.Leader == st.Header.MemberId {
			leader = name
		}
	}
	require.NotEmpty(c.t, leader)
	return leader
}

// TestMembers changes the members of a cluster by way of one that does not lead, and moves the leader.
func TestMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "a", "b", "c")
		ctx := t.Context()
		_, err := pb.NewKVClient(c.conns["a"]).Put(ctx, &pb.PutRequest{Key: []byte("k")})
		require.NoError(t, err)
		<-time.After(3 * time.Second) // until all have told their attributes
		members := c.members("b")
		require.Len(t, members, 3)
		require.Equal(t, []string{"http://c:2379"}, members["c"].ClientURLs)
		require.Equal(t, []string{"https://c:2380"}, members["c"].PeerURLs)
		require.Equal(t, store.MemberID("c"), members["c"].ID)

		leader := c.leader()
		follower := map[string]string{"a": "b", "b": "c", "c": "a"}[leader]
		maintenance := pb.NewMaintenanceClient(c.conns[follower])
		_, err = maintenance.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: members[follower].ID})
		require.Equal(t, rpctypes.ErrGRPCNotLeader.Error(), err.Error())
		_, err = pb.NewMaintenanceClient(c.conns[leader]).MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: 1})
		require.Equal(t, rpctypes.ErrGRPCBadLeaderTransferee.Error(), err.Error())
		_, err = pb.NewMaintenanceClient(c.conns[leader]).MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: members[follower].ID})
		require.NoError(t, err)
		<-time.After(time.Second)
		require.Equal(t, follower, c.leader())

		client := pb.NewClusterClient(c.conns[leader]) // it leads no more
		for url, want := range map[string]error{
			"":                         rpctypes.ErrGRPCMemberBadURLs,
			"ftp://d:2380":             rpctypes.ErrGRPCMemberBadURLs,
			"http://d":                 rpctypes.ErrGRPCMemberBadURLs,
			"http://d:2380/path":       rpctypes.ErrGRPCMemberBadURLs,
			"http://a@elsewhere:2380":  rpctypes.ErrGRPCMemberExist,
			"http://elsewhere@c:2380":  rpctypes.ErrGRPCPeerURLExist,
			"http://d@d:2380?query=no": rpctypes.ErrGRPCMemberBadURLs,
		} {
			_, err := client.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{url}})
			require.Error(t, err, url)
			require.Equal(t, want.Error(), err.Error(), url)
		}
		added, err := client.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"https://d@d:2380"}, IsLearner: true})
		require.NoError(t, err)
		require.True(t, added.Member.IsLearner)
		require.Equal(t, store.MemberID("d"), added.Member.ID)
		require.Len(t, added.Members, 4)
		_, err = client.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: added.Member.ID})
		require.Equal(t, rpctypes.ErrGRPCLearnerNotReady.Error(), err.Error(), "it does not run yet")
		c.listen("d")
		c.open("d", []string{"a", "b", "c", "d"}, true)
		_, err = client.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: added.Member.ID})
		require.NoError(t, err)
		require.False(t, c.members("a")["d"].IsLearner)
		for id, want := range map[uint64]error{added.Member.ID: rpctypes.ErrGRPCMemberNotLearner, 1: rpctypes.ErrGRPCMemberNotFound} {
			_, err = client.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
			require.Equal(t, want.Error(), err.Error())
		}
		_, err = client.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: added.Member.ID, PeerURLs: []string{"https://d:2380"}})
		require.NoError(t, err)
		_, err = client.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: added.Member.ID, PeerURLs: []string{"https://e:2380"}})
		require.Equal(t, rpctypes.ErrGRPCNotCapable.Error(), err.Error())
		removed, err := client.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: members[follower].ID})
		require.NoError(t, err)
		require.Len(t, removed.Members, 3)
		_, err = client.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: members[follower].ID})
		require.Equal(t, rpctypes.ErrGRPCMemberNotFound.Error(), err.Error())

		// What members say of the same revision is the same, and the headers are their own.
		for name := range c.members(leader) {
			_, err := pb.NewKVClient(c.conns[name]).Range(ctx, &pb.RangeRequest{Key: []byte("k")})
			require.NoError(t, err)
		}
		var hashes []uint32
		for name := range c.members(leader) {
			hash, err := pb.NewMaintenanceClient(c.conns[name]).HashKV(ctx, &pb.HashKVRequest{})
			require.NoError(t, err)
			require.Equal(t, store.MemberID(name), hash.Header.MemberId)
			require.NotZero(t, hash.Header.RaftTerm)
			hashes = append(hashes, hash.Hash)
		}
		require.Len(t, hashes, 3)
		require.Equal(t, []uint32{hashes[0], hashes[0], hashes[0]}, hashes)
	})
}

// TestNoLeader leaves one member of three: what needs a majority fails so that clients try elsewhere, and the rest
// goes on.
func TestNoLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "a", "b", "c")
		ctx := t.Context()
		kv, watch, lease := pb.NewKVClient(c.conns["a"]), pb.NewWatchClient(c.conns["a"]), pb.NewLeaseClient(c.conns["a"])
		_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("k"), Value: []byte("v")})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		watchCreated := func(ctx context.Context) grpc.BidiStreamingClient[pb.WatchRequest, pb.WatchResponse] {
			stream, err := watch.Watch(ctx)
			require.NoError(t, err)
			require.NoError(t, stream.Send(createWatch(&pb.WatchCreateRequest{Key: []byte("k")})))
			_, err = stream.Recv()
			require.NoError(t, err)
			return stream
		}
		strict, patient := watchCreated(requireLeader(ctx)), watchCreated(ctx)
		alive, err := lease.LeaseKeepAlive(requireLeader(ctx))
		require.NoError(t, err)
		c.stops["b"]()
		c.stops["c"]()

		begin := time.Now()
		for _, stream := range []interface{ RecvMsg(any) error }{strict, alive} {
			require.Equal(t, rpctypes.ErrGRPCNoLeader.Error(), stream.RecvMsg(&pb.WatchResponse{}).Error())
		}
		require.Less(t, time.Since(begin), 10*time.Second)
		require.GreaterOrEqual(t, time.Since(begin), 2*time.Second, "a moment without a leader is not worth ending streams")
		begin = time.Now()
		_, err = kv.Put(requireLeader(ctx), &pb.PutRequest{Key: []byte("k")})
		require.Equal(t, rpctypes.ErrGRPCNoLeader.Error(), err.Error())
		stream, err := watch.Watch(requireLeader(ctx))
		require.NoError(t, err)
		_, err = stream.Recv()
		require.Equal(t, rpctypes.ErrGRPCNoLeader.Error(), err.Error())
		require.Zero(t, time.Since(begin))
		for name, call := range map[string]func() error{
			"put":   func() error { _, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("k")}); return err },
			"get":   func() error { _, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("k")}); return err },
			"grant": func() error { _, err := lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 10}); return err },
			"members": func() error {
				_, err := pb.NewClusterClient(c.conns["a"]).MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
				return err
			},
		} {
			begin := time.Now()
			err := call()
			require.Equal(t, rpctypes.ErrGRPCTimeoutDueToLeaderFail.Error(), err.Error(), name)
			require.Equal(t, 7*time.Second, time.Since(begin), name)
		}
		short, stop := context.WithTimeout(ctx, time.Second)
		_, err = kv.Put(short, &pb.PutRequest{Key: []byte("k")})
		require.Equal(t, codes.DeadlineExceeded, status.Code(err), "the client's own time-out is not the server's")
		stop()

		got, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("k"), Serializable: true})
		require.NoError(t, err)
		require.Equal(t, "v", string(got.Kvs[0].Value))
		st, err := pb.NewMaintenanceClient(c.conns["a"]).Status(ctx, &pb.StatusRequest{})
		require.NoError(t, err)
		require.Zero(t, st.Leader)
		require.Equal(t, []string{"etcdserver: no leader"}, st.Errors)
		require.NoError(t, patient.Send(createWatch(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 2})))
		r, err := patient.Recv()
		require.NoError(t, err)
		require.True(t, r.Created && !r.Canceled)
		r, err = patient.Recv()
		require.NoError(t, err)
		require.Equal(t, "v", string(r.Events[0].Kv.Value))
		require.NoError(t, patient.Send(createWatch(&pb.WatchCreateRequest{Key: []byte("k")})))
		r, err = patient.Recv()
		require.NoError(t, err)
		require.Equal(t, rpctypes.ErrTimeoutDueToLeaderFail.Error(), r.CancelReason)
	})
}
