package etcdapi

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/keelson-dev/keelson/store"
)

type clusterServer struct {
	pb.UnimplementedClusterServer
	*Server
}

// clusterMember is a member as this API tells of it.
type clusterMember struct {
	id         uint64
	name, addr string
	clientURLs []string
	learner    bool
	diverged   bool
}

// members is who is in the cluster.
type members struct {
	self   clusterMember
	leader uint64 // 0 for none
	all    []clusterMember
}

func (m *members) find(id uint64) *clusterMember {
	for i := range m.all {
		if m.all[i].id == id {
			return &m.all[i]
		}
	}
	return nil
}

// members returns who is in the cluster as far as this member knows.
func (s *Server) members(st *store.Status) members {
	m := members{self: clusterMember{id: s.memberID, name: st.Name, learner: true}} // of one that was not added yet
	for i := range st.Members {
		of := &st.Members[i]
		one := clusterMember{
			id: of.ID, name: of.Name, addr: of.Addr, clientURLs: of.ClientURLs, learner: !of.Voter, diverged: of.Diverged,
		}
		if one.id == s.memberID {
			if one.name == "" {
				one.name = s.cfg.Name
			}
			if len(one.clientURLs) == 0 {
				one.clientURLs = s.cfg.ClientURLs
			}
			m.self = one
		}
		if of.Leader {
			m.leader = one.id
		}
		m.all = append(m.all, one)
	}
	return m
}

func (s *Server) protoMembers(m *members) []*pb.Member {
	out := make([]*pb.Member, len(m.all))
	for i, one := range m.all {
		out[i] = &pb.Member{ID: one.id, Name: one.name, ClientURLs: one.clientURLs, IsLearner: one.learner}
		if one.addr != "" {
			out[i].PeerURLs = []string{s.cfg.PeerScheme + "://" + one.addr}
		}
	}
	return out
}

// list returns the members after a change, or when asked for them.
func (s *Server) list(ctx context.Context, linearizable bool) (members, error) {
	if linearizable {
		if _, err := s.store.Revision(ctx); err != nil {
			return members{}, s.failed(ctx, err)
		}
	}
	st, err := s.store.Status(ctx)
	if err != nil {
		return members{}, s.failed(ctx, err)
	}
	return s.members(&st), nil
}

// MemberList implements pb.ClusterServer.
func (s *clusterServer) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	m, err := s.list(ctx, r.Linearizable)
	if err != nil {
		return nil, err
	}
	return &pb.MemberListResponse{Header: s.at(0), Members: s.protoMembers(&m)}, nil
}

// MemberAdd implements pb.ClusterServer. etcd gives members their numbers and learns their names when they start; here
// the name is what a member is, and so it must be told: as the user of the URL (https://d@10.0.0.4:2380). Without one
// the host is the name. The new member begins as a learner even if that was not asked for, and becomes a voter by
// itself when it has caught up.
func (s *clusterServer) MemberAdd(ctx context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	peer, err := peerOf(r.PeerURLs)
	if err != nil {
		return nil, err
	}
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	before, err := s.list(ctx, true)
	if err != nil {
		return nil, err
	}
	for _, one := range before.all {
		switch {
		case one.addr == peer.Addr:
			return nil, rpctypes.ErrGRPCPeerURLExist
		case one.name == peer.Name:
			return nil, rpctypes.ErrGRPCMemberExist
		}
	}
	if err := s.store.AddMember(ctx, peer); err != nil {
		return nil, s.memberError(ctx, err)
	}
	m, err := s.list(ctx, true)
	if err != nil {
		return nil, err
	}
	added := clusterMember{id: store.MemberID(peer.Name), name: peer.Name, addr: peer.Addr, learner: true}
	if one := m.find(added.id); one != nil {
		added = *one
	} else {
		m.all = append(m.all, added) // this member has not heard of it yet
	}
	return &pb.MemberAddResponse{
		Header: s.at(0), Member: s.protoMembers(&members{all: []clusterMember{added}})[0], Members: s.protoMembers(&m),
	}, nil
}

// peerOf makes a peer of the URLs that a client gave for it.
func peerOf(urls []string) (store.Peer, error) {
	if len(urls) != 1 {
		return store.Peer{}, rpctypes.ErrGRPCMemberBadURLs
	}
	u, err := url.Parse(urls[0])
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return store.Peer{}, rpctypes.ErrGRPCMemberBadURLs
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil || host == "" || port == "" {
		return store.Peer{}, rpctypes.ErrGRPCMemberBadURLs
	}
	peer := store.Peer{Name: host, Addr: u.Host}
	if name := u.User.Username(); name != "" {
		peer.Name = name
	}
	return peer, nil
}

// memberError makes etcd's error of one that a change of members gave.
func (s *Server) memberError(ctx context.Context, err error) error {
	if errors.Is(err, store.ErrMember) {
		s.cfg.Logger.Sugar().Infof("members were not changed: %v", err)
		return rpctypes.ErrGRPCMemberNotEnoughStarted
	}
	return s.failed(ctx, err)
}

// MemberRemove implements pb.ClusterServer.
func (s *clusterServer) MemberRemove(ctx context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	m, err := s.list(ctx, true)
	if err != nil {
		return nil, err
	}
	one := m.find(r.ID)
	if one == nil {
		return nil, rpctypes.ErrGRPCMemberNotFound
	}
	if err := s.store.RemoveMember(ctx, one.name); err != nil {
		return nil, s.memberError(ctx, err)
	}
	m.all = slices.DeleteFunc(m.all, func(one clusterMember) bool { return one.id == r.ID })
	return &pb.MemberRemoveResponse{Header: s.at(0), Members: s.protoMembers(&m)}, nil
}

// MemberUpdate implements pb.ClusterServer. A member's address can't be changed: its new address is a new member's.
// What changes nothing succeeds.
func (s *clusterServer) MemberUpdate(ctx context.Context, r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	peer, err := peerOf(r.PeerURLs)
	if err != nil {
		return nil, err
	}
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	m, err := s.list(ctx, true)
	if err != nil {
		return nil, err
	}
	one := m.find(r.ID)
	switch {
	case one == nil:
		return nil, rpctypes.ErrGRPCMemberNotFound
	case one.addr != peer.Addr:
		return nil, rpctypes.ErrGRPCNotCapable
	}
	return &pb.MemberUpdateResponse{Header: s.at(0), Members: s.protoMembers(&m)}, nil
}

// promoteEvery is how often MemberPromote looks whether a member has become a voter.
const promoteEvery = 50 * time.Millisecond

// MemberPromote implements pb.ClusterServer. The leader promotes by itself whoever has caught up; this waits for it for
// a while.
func (s *clusterServer) MemberPromote(ctx context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	ticker := time.NewTicker(promoteEvery)
	defer ticker.Stop()
	for waited := false; ; waited = true {
		m, err := s.list(ctx, true)
		if waited && context.Cause(ctx) == errTooLong {
			return nil, rpctypes.ErrGRPCLearnerNotReady
		}
		if err != nil {
			return nil, err
		}
		switch one := m.find(r.ID); {
		case one == nil && waited:
			return nil, rpctypes.ErrGRPCMemberNotFound
		case one == nil: // a follower may learn of one that was just added a moment later
		case !one.learner && !waited:
			return nil, rpctypes.ErrGRPCMemberNotLearner
		case !one.learner:
			return &pb.MemberPromoteResponse{Header: s.at(0), Members: s.protoMembers(&m)}, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			if context.Cause(ctx) == errTooLong {
				return nil, rpctypes.ErrGRPCLearnerNotReady
			}
			return nil, s.fail(ctx.Err())
		}
	}
}
