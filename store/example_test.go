package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/keelson-dev/keelson/store"
)

func Example() {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{}) // with a Dir it would be durable
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	put, _ := s.Put(ctx, store.PutRequest{Key: []byte("/color"), Value: []byte("red")})
	s.Put(ctx, store.PutRequest{Key: []byte("/color"), Value: []byte("blue")})
	now, _, _ := s.Get(ctx, []byte("/color"))
	past, _ := s.Range(ctx, store.RangeRequest{Key: []byte("/color"), Revision: put.Revision})
	fmt.Printf("%s at %d, %s at %d\n", past.KVs[0].Value, past.KVs[0].ModRevision, now.Value, now.ModRevision)
	// Output: red at 2, blue at 3
}

func ExampleStore_Txn() {
	ctx := context.Background()
	s, _ := store.Open(ctx, store.Config{})
	defer s.Close()
	// Create a key only if it does not exist.
	create := store.Txn{
		Compares: []store.Compare{{Key: []byte("/lock"), Target: store.CompareVersion, Number: 0}},
		Then:     []store.Op{{Put: &store.PutRequest{Key: []byte("/lock"), Value: []byte("mine")}}},
		Else:     []store.Op{{Range: &store.RangeRequest{Key: []byte("/lock")}}},
	}
	first, _ := s.Txn(ctx, create)
	second, _ := s.Txn(ctx, create)
	fmt.Println(first.Succeeded, second.Succeeded, string(second.Responses[0].Range.KVs[0].Value))
	// Output: true false mine
}

func ExampleStore_Watch() {
	ctx := context.Background()
	s, _ := store.Open(ctx, store.Config{})
	defer s.Close()
	w, err := s.Watch(ctx, store.WatchRequest{Key: []byte("/a/"), End: store.PrefixEnd([]byte("/a/")), PrevKV: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Close()
	s.Put(ctx, store.PutRequest{Key: []byte("/a/1"), Value: []byte("x")})
	s.Delete(ctx, store.DeleteRequest{Key: []byte("/a/1")})
	batch, _ := w.Next(ctx)
	for _, e := range batch.Events {
		fmt.Println(e.KV.ModRevision, e.Type, string(e.KV.Key), e.PrevKV != nil)
	}
	// Output:
	// 2 PUT /a/1 false
	// 3 DELETE /a/1 true
}

func ExampleStore_Grant() {
	ctx := context.Background()
	s, _ := store.Open(ctx, store.Config{})
	defer s.Close()
	lease, _ := s.Grant(ctx, 0, time.Minute)
	s.Put(ctx, store.PutRequest{Key: []byte("/members/1"), Lease: lease.ID})
	s.Revoke(ctx, lease.ID) // or let it run out
	_, found, _ := s.Get(ctx, []byte("/members/1"))
	fmt.Println(found)
	// Output: false
}

func ExampleStore_Snapshot() {
	ctx := context.Background()
	s, _ := store.Open(ctx, store.Config{})
	defer s.Close()
	s.Put(ctx, store.PutRequest{Key: []byte("/a"), Value: []byte("kept")})
	var backup bytes.Buffer
	if err := s.Snapshot(ctx, &backup); err != nil {
		fmt.Println(err)
		return
	}
	restored, err := store.Open(ctx, store.Config{Restore: &backup})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer restored.Close()
	kv, _, _ := restored.Get(ctx, []byte("/a"))
	fmt.Println(string(kv.Value))
	// Output: kept
}

func ExampleError() {
	ctx := context.Background()
	s, _ := store.Open(ctx, store.Config{})
	defer s.Close()
	_, err := s.Range(ctx, store.RangeRequest{Key: []byte("/a"), Revision: 99})
	var failed *store.Error
	fmt.Println(errors.Is(err, store.ErrFutureRevision), errors.As(err, &failed), failed.Op, failed.Key, failed.Revision)
	fmt.Println(err)
	// Output:
	// true true range /a 1
	// store: range "/a": revision is in the future; the newest is 1
}

// A range is read in pages, newest first here; Count says how many there are in all.
func ExampleStore_Range() {
	ctx := context.Background()
	s, _ := store.Open(ctx, store.Config{})
	defer s.Close()
	for _, key := range []string{"/jobs/1", "/jobs/2", "/jobs/3"} {
		s.Put(ctx, store.PutRequest{Key: []byte(key)})
	}
	page, err := s.Range(ctx, store.RangeRequest{
		Key: []byte("/jobs/"), End: store.PrefixEnd([]byte("/jobs/")), SortBy: store.SortByMod, SortDescend: true, Limit: 2,
	})
	for _, kv := range page.KVs {
		fmt.Println(string(kv.Key), kv.ModRevision)
	}
	fmt.Println(page.Count, page.More, err)
	// Output:
	// /jobs/3 4
	// /jobs/2 3
	// 3 true <nil>
}

func ExampleStore_Status() {
	ctx := context.Background()
	s, _ := store.Open(ctx, store.Config{})
	defer s.Close()
	s.Put(ctx, store.PutRequest{Key: []byte("/a"), Value: []byte("1")})
	s.Put(ctx, store.PutRequest{Key: []byte("/a"), Value: []byte("2")})
	_ = s.Compact(ctx, 3)
	status, err := s.Status(ctx)
	fmt.Println(status.Revision, status.CompactRevision, status.Keys, status.Durable, err)
	// Output: 3 3 1 false <nil>
}

// A cluster begins with one member, and another joins it. In a program each has a Dir, TLS, and an address that the
// other can dial; in a test all of it may be in memory.
func ExampleStore_AddMember() {
	ctx := context.Background()
	network := map[string]*memnet.Listener{"a": memnet.Listen("a"), "b": memnet.Listen("b")}
	open := func(name string, join bool, peers ...store.Peer) (*store.Store, error) {
		return store.Open(ctx, store.Config{
			Name: name, Peers: peers, Join: join, MemoryDisk: &store.MemoryDisk{}, Listener: network[name],
			Dial: func(ctx context.Context, addr string) (net.Conn, error) { return network[addr].Dial(ctx) },
		})
	}
	peers := []store.Peer{{Name: "a", Addr: "a"}, {Name: "b", Addr: "b"}}
	a, err := open("a", false, peers[0])
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	put, err := a.Put(ctx, store.PutRequest{Key: []byte("greeting"), Value: []byte("hello")})
	fmt.Println(put.Revision, err)
	if err := a.AddMember(ctx, peers[1]); err != nil {
		fmt.Println(err)
		return
	}
	b, err := open("b", true, peers...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	kv, _, err := b.Get(ctx, []byte("greeting"))
	fmt.Printf("%s %v\n", kv.Value, err)
	// Output:
	// 2 <nil>
	// hello <nil>
}
