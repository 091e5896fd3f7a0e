package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// MaxLeaseTTL bounds a lease's time to live, as etcd does.
const MaxLeaseTTL = 9_000_000_000 * time.Second

// Lease is a lease as it was granted.
type Lease struct {
	ID  int64
	TTL time.Duration
}

// LeaseStatus is what TimeToLive tells.
type LeaseStatus struct {
	Lease
	// Remaining is the time left until the lease runs out.
	Remaining time.Duration
	// Keys are the keys attached, in order.
	Keys [][]byte
}

// Grant makes a lease that runs out after ttl unless it is kept alive. An id of 0 has one chosen. It fails with
// ErrLeaseExists or ErrLeaseTTL.
func (s *Store) Grant(ctx context.Context, id int64, ttl time.Duration) (Lease, error) {
	if ttl <= 0 || ttl > MaxLeaseTTL || id < 0 {
		return Lease{}, &Error{Op: "grant", Err: fmt.Errorf("%w: lease %d with %v, want more than 0 and at most %v", ErrLeaseTTL, id, ttl, MaxLeaseTTL)}
	}
	if err := s.room(ctx, "grant"); err != nil {
		return Lease{}, err
	}
	chosen := id == 0
	for {
		if chosen {
			id = 1 + rand.Int64N(1<<62)
		}
		r, err := s.propose(ctx, "grant", command{kind: commandGrant, lease: id, ttl: ttl, bound: s.cfg.QuotaBytes})
		if err != nil {
			return Lease{}, err
		}
		s.noteQuota(r.err)
		if r.err == ErrLeaseExists && chosen {
			continue
		}
		if r.err != nil {
			return Lease{}, &Error{Op: "grant", Err: fmt.Errorf("%w: %d", r.err, id)}
		}
		return Lease{ID: id, TTL: ttl}, nil
	}
}

// KeepAlive starts a lease's time anew. It fails with ErrLeaseNotFound.
func (s *Store) KeepAlive(ctx context.Context, id int64) (Lease, error) {
	r, err := s.propose(ctx, "keepalive", command{kind: commandRenew, lease: id})
	if err != nil {
		return Lease{}, err
	}
	if r.err != nil {
		return Lease{}, &Error{Op: "keepalive", Err: fmt.Errorf("%w: %d", r.err, id)}
	}
	return Lease{ID: id, TTL: r.ttl}, nil
}

// Revoke ends a lease and deletes its keys, in one revision, which it returns. It fails with ErrLeaseNotFound.
func (s *Store) Revoke(ctx context.Context, id int64) (int64, error) {
	r, err := s.propose(ctx, "revoke", command{kind: commandRevoke, lease: id})
	if err != nil {
		return 0, err
	}
	if r.err != nil {
		return 0, &Error{Op: "revoke", Err: fmt.Errorf("%w: %d", r.err, id)}
	}
	return r.revision, nil
}

// TimeToLive tells how long a lease has and which keys live by it. It fails with ErrLeaseNotFound.
func (s *Store) TimeToLive(ctx context.Context, id int64) (LeaseStatus, error) {
	v, err := s.read(ctx, "timetolive")
	if err != nil {
		return LeaseStatus{}, err
	}
	rec, found := v.leases.Get(leaseRecord{id: id})
	if !found {
		return LeaseStatus{}, &Error{Op: "timetolive", Err: fmt.Errorf("%w: %d", ErrLeaseNotFound, id)}
	}
	status := LeaseStatus{Lease: Lease{ID: id, TTL: rec.ttl}, Remaining: s.clerk.remaining(rec, time.Now())}
	v.attached.AscendGreaterOrEqual(attachment{lease: id}, func(a attachment) bool {
		if a.lease != id {
			return false
		}
		status.Keys = append(status.Keys, []byte(a.key))
		return true
	})
	return status, nil
}

// Leases returns the ids of all leases, in order.
func (s *Store) Leases(ctx context.Context) ([]int64, error) {
	v, err := s.read(ctx, "leases")
	if err != nil {
		return nil, err
	}
	ids := make([]int64, 0, v.leases.Len())
	v.leases.Ascend(func(rec leaseRecord) bool {
		ids = append(ids, rec.id)
		return true
	})
	return ids, nil
}
