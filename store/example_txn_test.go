package store_test

import (
	"context"
	"fmt"

	"github.com/keelson-dev/keelson/store"
)

// A transfer between two accounts is made only if neither has changed since it was computed. All of it happens in one
// revision.
func ExampleTxn() {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	s.Put(ctx, store.PutRequest{Key: []byte("from"), Value: []byte("10")})
	s.Put(ctx, store.PutRequest{Key: []byte("to"), Value: []byte("0")})
	from, _, _ := s.Get(ctx, []byte("from"))
	to, _, _ := s.Get(ctx, []byte("to"))
	transfer := store.Txn{
		Compares: []store.Compare{
			{Key: from.Key, Target: store.CompareMod, Number: from.ModRevision},
			{Key: to.Key, Target: store.CompareMod, Number: to.ModRevision},
		},
		Then: []store.Op{
			{Put: &store.PutRequest{Key: from.Key, Value: []byte("7")}},
			{Put: &store.PutRequest{Key: to.Key, Value: []byte("3")}},
		},
	}
	for range 2 {
		result, err := s.Txn(ctx, transfer)
		fmt.Println(result.Succeeded, result.Revision, err)
	}
	// Output:
	// true 4 <nil>
	// false 4 <nil>
}

// A compare with an End holds if it holds for every key of the range.
func ExampleCompare() {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	for _, key := range []string{"/jobs/1", "/jobs/2"} {
		s.Put(ctx, store.PutRequest{Key: []byte(key), Value: []byte("done")})
	}
	all := store.Compare{
		Key: []byte("/jobs/"), End: store.PrefixEnd([]byte("/jobs/")), Target: store.CompareValue, Op: store.Equal, Value: []byte("done"),
	}
	result, err := s.Txn(ctx, store.Txn{
		Compares: []store.Compare{all},
		Then:     []store.Op{{Delete: &store.DeleteRequest{Key: all.Key, End: all.End}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Succeeded, result.Responses[0].Delete.Deleted)
	// Output: true 2
}
