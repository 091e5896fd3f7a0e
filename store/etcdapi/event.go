package etcdapi

import (
	"iter"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/etcdapi/transport"
)

// watchChunk is the size in bytes above which a batch of events is sent in several responses, at the borders of
// transactions. A transaction itself is only taken apart for a client that asked for fragments.
const watchChunk = 1 << 20

// chunks cuts a batch, and says of each part up to which revision the client then has everything.
func chunks(batch store.WatchBatch) iter.Seq2[[]store.Event, int64] {
	return func(yield func([]store.Event, int64) bool) {
		start, size := 0, 0
		for i := range batch.Events {
			if i > start && size > watchChunk && batch.Events[i].KV.ModRevision != batch.Events[i-1].KV.ModRevision {
				if !yield(batch.Events[start:i], batch.Events[i-1].KV.ModRevision) {
					return
				}
				start, size = i, 0
			}
			size += eventSize(&batch.Events[i])
		}
		if start < len(batch.Events) {
			yield(batch.Events[start:], batch.Revision)
		}
	}
}

// eventSize is about what an event takes on the wire.
func eventSize(e *store.Event) int {
	size := 64 + len(e.KV.Key) + len(e.KV.Value)
	if e.PrevKV != nil {
		size += 64 + len(e.PrevKV.Key) + len(e.PrevKV.Value)
	}
	return size
}

func events(batch []store.Event) []*mvccpb.Event {
	out := make([]*mvccpb.Event, len(batch))
	for i, e := range batch {
		out[i] = &mvccpb.Event{Kv: keyValue(e.KV), PrevKv: keyValue(e.PrevKV)}
		if e.Type == store.EventDelete {
			out[i].Type = mvccpb.Event_DELETE
		}
	}
	return out
}

// sendWatch sends a response, in fragments if it is large and they were asked for. Nothing may come between the
// fragments: clients put them together by their order alone.
func (s *Server) sendWatch(stream grpc.BidiStreamingServer[pb.WatchRequest, pb.WatchResponse], m watchMessage) error {
	limit := s.maxMessage()
	if g, ok := stream.(*grpc.GenericServerStream[pb.WatchRequest, pb.WatchResponse]); ok && len(m.events) > 0 && transport.TakesAppender(g.ServerStream) {
		a := &watchAppender{message: m, encoded: s.encoded}
		if !m.fragment || len(m.events) == 1 || a.size() < limit {
			return g.SendMsg(a)
		}
	}
	if len(m.events) > 0 {
		m.response.Events = events(m.events)
	}
	if !m.fragment || len(m.response.Events) < 2 || proto.Size(m.response) < limit {
		return stream.Send(m.response)
	}
	for rest := m.response.Events; len(rest) > 0; {
		n, size := 0, 0
		for n < len(rest) && (n == 0 || size+proto.Size(rest[n]) < limit) {
			size += proto.Size(rest[n])
			n++
		}
		part := &pb.WatchResponse{
			Header: m.response.Header, WatchId: m.response.WatchId, Events: rest[:n:n], Fragment: n < len(rest),
		}
		if err := stream.Send(part); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}
