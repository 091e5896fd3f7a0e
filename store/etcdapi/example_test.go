package etcdapi_test

import (
	"context"
	"fmt"
	"net"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/etcdapi"
)

// A store in memory is served on loopback, without TLS. etcd's client would be given the same address.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := store.Open(ctx, store.Config{})
	if err != nil {
		panic(err)
	}
	defer s.Close()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	served := make(chan error, 1)
	go func() { served <- etcdapi.New(s, etcdapi.Config{}).Serve(ctx, listener, nil) }()

	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	kv := pb.NewKVClient(conn)
	if _, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("greeting"), Value: []byte("hello")}); err != nil {
		panic(err)
	}
	found, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("greeting")})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s=%s at revision %d\n", found.Kvs[0].Key, found.Kvs[0].Value, found.Header.Revision)

	cancel()
	fmt.Println("served:", <-served)
	// Output:
	// greeting=hello at revision 2
	// served: <nil>
}
