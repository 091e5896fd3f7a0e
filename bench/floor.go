package main

import (
	"context"
	"errors"
	"net"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
)

// floor serves etcd's API without doing anything: answers are made once, and a put goes to every watch as it came.
// It is one process that listens as often as there are members.
type floor struct {
	pb.UnimplementedKVServer
	pb.UnimplementedWatchServer

	server    *grpc.Server
	listeners []net.Listener // as many as there are members
	header    *pb.ResponseHeader
	put       *pb.PutResponse
	one, all  *pb.RangeResponse
	txn       *pb.TxnResponse

	mu      sync.Mutex
	streams map[*floorStream]bool
}

// floorStream is a watch stream: how many watches it has, and the events on their way to them.
type floorStream struct {
	watches int64
	queue   []*mvccpb.Event
	wake    chan struct{}
}

func openFloor(_ context.Context, o Order) (server, error) {
	f := &floor{header: &pb.ResponseHeader{ClusterId: 1 << 60, MemberId: 1 << 60, Revision: 1_000_000, RaftTerm: 2}, streams: map[*floorStream]bool{}}
	var kvs []*mvccpb.KeyValue
	for _, key := range makeKeys(keyPrefix, min(listed, o.Keys)) {
		kvs = append(kvs, &mvccpb.KeyValue{Key: key, Value: make([]byte, valueSize), CreateRevision: 1000, ModRevision: 500_000, Version: 10})
	}
	f.put = &pb.PutResponse{Header: f.header}
	f.one = &pb.RangeResponse{Header: f.header, Kvs: kvs[:1], Count: 1}
	f.all = &pb.RangeResponse{Header: f.header, Kvs: kvs, Count: int64(o.Keys), More: true}
	f.txn = &pb.TxnResponse{Header: f.header, Succeeded: true, Responses: []*pb.ResponseOp{
		{Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{Header: &pb.ResponseHeader{Revision: 1_000_000}}}},
	}}
	for range o.Peers {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		f.listeners = append(f.listeners, l)
	}
	f.server = grpc.NewServer()
	pb.RegisterKVServer(f.server, f)
	pb.RegisterWatchServer(f.server, f)
	for _, l := range f.listeners {
		go func() { _ = f.server.Serve(l) }() // ends with Close
	}
	return f, nil
}

func (f *floor) addrs() (all []string) {
	for _, l := range f.listeners {
		all = append(all, l.Addr().String())
	}
	return all
}

func (f *floor) local() target { return nil }

func (f *floor) Close() error {
	if f.server != nil {
		f.server.Stop()
	}
	for _, l := range f.listeners {
		_ = l.Close() // for the second time, if it was served
	}
	return nil
}

// Range implements pb.KVServer.
func (f *floor) Range(_ context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if len(r.RangeEnd) > 0 {
		return f.all, nil
	}
	return f.one, nil
}

// Put implements pb.KVServer.
func (f *floor) Put(_ context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.streams) == 0 {
		return f.put, nil
	}
	e := &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: r.Key, Value: r.Value, CreateRevision: 1000, ModRevision: 500_000, Version: 10}}
	for s := range f.streams {
		s.queue = append(s.queue, e)
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return f.put, nil
}

// Txn implements pb.KVServer.
func (f *floor) Txn(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error) { return f.txn, nil }

// Watch implements pb.WatchServer: every watch gets every event, in a response of its own.
func (f *floor) Watch(stream grpc.BidiStreamingServer[pb.WatchRequest, pb.WatchResponse]) error {
	s := &floorStream{wake: make(chan struct{}, 1)}
	defer func() {
		f.mu.Lock()
		delete(f.streams, s)
		f.mu.Unlock()
	}()
	created, ended := make(chan int64), make(chan error, 1)
	go func() {
		for id := int64(0); ; {
			r, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			if r.GetCreateRequest() != nil {
				select {
				case created <- id:
				case <-stream.Context().Done():
				}
				id++
			}
		}
	}()
	for {
		select {
		case id := <-created:
			f.mu.Lock()
			f.streams[s] = true
			s.watches = id + 1
			f.mu.Unlock()
			if err := stream.Send(&pb.WatchResponse{Header: f.header, WatchId: id, Created: true}); err != nil {
				return err
			}
		case <-s.wake:
			f.mu.Lock()
			queue := s.queue
			s.queue = nil
			f.mu.Unlock()
			for _, e := range queue {
				for id := range s.watches {
					if err := stream.Send(&pb.WatchResponse{Header: f.header, WatchId: id, Events: []*mvccpb.Event{e}}); err != nil {
						return err
					}
				}
			}
		case <-ended:
			return nil
		}
	}
}
