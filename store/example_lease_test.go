package store_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-dev/keelson/store"
)

// A key that is attached to a lease goes with it. The holder keeps the lease alive, several times within its TTL.
func ExampleLease() {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	lease, err := s.Grant(ctx, 7, time.Minute)
	if err != nil {
		fmt.Println(err)
		return
	}
	s.Put(ctx, store.PutRequest{Key: []byte("/workers/1"), Lease: lease.ID})
	lease, err = s.KeepAlive(ctx, lease.ID)
	fmt.Println(lease.ID, lease.TTL, err)
	left, _ := s.TimeToLive(ctx, lease.ID)
	fmt.Println(left.Remaining > 0, string(left.Keys[0]))

	revoked, err := s.Revoke(ctx, lease.ID)
	fmt.Println(revoked, err)
	_, found, _ := s.Get(ctx, []byte("/workers/1"))
	_, err = s.KeepAlive(ctx, lease.ID)
	fmt.Println(found, errors.Is(err, store.ErrLeaseNotFound))
	// Output:
	// 7 1m0s <nil>
	// true /workers/1
	// 3 <nil>
	// false true
}
