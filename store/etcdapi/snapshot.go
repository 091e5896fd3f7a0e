package etcdapi

import (
	"bufio"
	"crypto/sha256"
	"io"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

// snapshotChunk is the size of one message of a snapshot, snapshotBlock what its length is padded to: etcd's client
// takes a file whose length is 32 above a multiple of it as one that ends in a SHA-256.
const (
	snapshotChunk = 32 << 10
	snapshotBlock = 512
)

// Snapshot implements pb.MaintenanceServer. What is sent is a snapshot of package store, padded with zeros, and its
// SHA-256. How much is left is not known before the end, and so RemainingBytes is 0 all the time.
func (s *maintenanceServer) Snapshot(_ *pb.SnapshotRequest, stream grpc.ServerStreamingServer[pb.SnapshotResponse]) error {
	w := &snapshotStream{server: s.Server, stream: stream}
	out := bufio.NewWriterSize(w, snapshotChunk)
	sum := sha256.New()
	counted := io.MultiWriter(out, sum)
	if err := s.store.Snapshot(stream.Context(), counted); err != nil {
		return s.fail(err)
	}
	if left := (w.size + out.Buffered()) % snapshotBlock; left > 0 {
		if _, err := counted.Write(make([]byte, snapshotBlock-left)); err != nil {
			return err
		}
	}
	if _, err := out.Write(sum.Sum(nil)); err != nil {
		return err
	}
	return out.Flush()
}

// snapshotStream sends what is written to it, and counts.
type snapshotStream struct {
	server *Server
	stream grpc.ServerStreamingServer[pb.SnapshotResponse]
	size   int
}

func (w *snapshotStream) Write(p []byte) (int, error) {
	for chunk := range slices.Chunk(p, snapshotChunk) {
		select {
		case <-w.server.closed:
			return 0, rpctypes.ErrGRPCStopped
		default:
		}
		response := &pb.SnapshotResponse{Header: w.server.at(0), Version: minor(w.server.cfg.Version) + ".0", Blob: chunk}
		if err := w.stream.Send(response); err != nil {
			return 0, err
		}
		w.size += len(chunk)
	}
	return len(p), nil
}
