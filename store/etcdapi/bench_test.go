package etcdapi_test

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/etcdapi"
	"github.com/keelson-dev/keelson/store/etcdapi/transport"
)

// benchmarkForms runs a benchmark over either server, on loopback, with a store in memory: what is left is the API's
// own cost and the client's, which are in the same process here. The module bench tells them apart.
func benchmarkForms(b *testing.B, run func(b *testing.B, kv pb.KVClient)) {
	for _, form := range []string{"transport", "grpc"} {
		b.Run(form, func(b *testing.B) {
			s, err := store.Open(b.Context(), store.Config{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			api := etcdapi.New(s, etcdapi.Config{})
			defer api.Close()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			if form == "grpc" {
				server := grpc.NewServer()
				api.Register(server)
				go func() { _ = server.Serve(l) }()
				defer server.Stop()
			} else {
				server, err := api.Transport(transport.Config{})
				if err != nil {
					b.Fatal(err)
				}
				go func() { _ = server.Serve(l) }()
				defer server.Close()
			}
			conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			kv := pb.NewKVClient(conn)
			for i := range 1000 {
				if _, err := kv.Put(b.Context(), &pb.PutRequest{Key: fmt.Appendf(nil, "/k/%04d", i), Value: make([]byte, 256)}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			run(b, kv)
		})
	}
}

func BenchmarkGet(b *testing.B) {
	benchmarkForms(b, func(b *testing.B, kv pb.KVClient) {
		for b.Loop() {
			if res, err := kv.Range(b.Context(), &pb.RangeRequest{Key: []byte("/k/0500")}); err != nil || len(res.Kvs) != 1 {
				b.Fatal(res, err)
			}
		}
	})
}

func BenchmarkRange1000(b *testing.B) {
	benchmarkForms(b, func(b *testing.B, kv pb.KVClient) {
		for b.Loop() {
			if res, err := kv.Range(b.Context(), &pb.RangeRequest{Key: []byte("/k/"), RangeEnd: []byte("/k0")}); err != nil || len(res.Kvs) != 1000 {
				b.Fatal(res, err)
			}
		}
	})
}

// BenchmarkPut100 has a hundred callers on one connection; the time is per put.
func BenchmarkPut100(b *testing.B) {
	benchmarkForms(b, func(b *testing.B, kv pb.KVClient) {
		work := make(chan int, 100)
		var all sync.WaitGroup
		var failed atomic.Bool
		for range 100 {
			all.Go(func() {
				for i := range work {
					if _, err := kv.Put(b.Context(), &pb.PutRequest{Key: fmt.Appendf(nil, "/k/%04d", i%1000), Value: make([]byte, 256)}); err != nil {
						failed.Store(true)
					}
				}
			})
		}
		i := 0
		for b.Loop() {
			i++
			work <- i
		}
		close(work)
		all.Wait()
		if failed.Load() {
			b.Fatal("a put failed")
		}
	})
}
