package store_test

import (
	"context"
	"fmt"
	"net"

	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/keelson-dev/keelson/store"
)

// A member says who is in its cluster and who leads. Here it is the only one, in memory; in a program it has a Dir and
// an address.
func ExampleStatus() {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{
		Name: "a", Peers: []store.Peer{{Name: "a", Addr: "a"}}, Listener: memnet.Listen("a"), MemoryDisk: &store.MemoryDisk{},
		Dial: func(context.Context, string) (net.Conn, error) { return nil, net.ErrClosed },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	if _, err := s.Put(ctx, store.PutRequest{Key: []byte("color"), Value: []byte("red")}); err != nil {
		fmt.Println(err)
		return
	}
	status, err := s.Status(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(status.Revision, status.Keys, status.Leader, status.ClusterID != 0)
	for _, m := range status.Members {
		fmt.Println(m.Name, m.Addr)
	}
	// Output:
	// 2 1 true true
	// a a
}
