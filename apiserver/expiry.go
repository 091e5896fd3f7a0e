package apiserver

import (
	"context"
	"sync"
	"time"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// defaultEventTTL is how long kube-apiserver keeps events; leaseShare is for how long one lease serves new ones.
const (
	defaultEventTTL = time.Hour
	leaseShare      = time.Minute
)

// expiry gives Events the store's lease that deletes them. Events of one minute share one.
type expiry struct {
	mu    sync.Mutex
	lease int64
	until time.Time // when the next lease is due
}

// leaseFor answers the lease that an object of the kind is stored with, 0 for none.
func (s *Server) leaseFor(ctx context.Context, k *kind.Kind) (int64, error) {
	if s.cfg.EventTTL < 0 || !k.Is(kind.Event.Kind()) {
		return 0, nil
	}
	s.expiry.mu.Lock()
	lease, until := s.expiry.lease, s.expiry.until
	s.expiry.mu.Unlock()
	if lease != 0 && time.Now().Before(until) {
		return lease, nil
	}
	ttl := s.cfg.EventTTL
	if ttl == 0 {
		ttl = defaultEventTTL
	}
	granted, err := s.store.Grant(ctx, 0, ttl)
	if err != nil {
		return 0, storeError(err)
	}
	s.expiry.mu.Lock()
	s.expiry.lease, s.expiry.until = granted.ID, time.Now().Add(min(leaseShare, ttl/2))
	s.expiry.mu.Unlock()
	return granted.ID, nil
}

// forgetLease makes the next Event ask for a new lease.
func (s *Server) forgetLease() {
	s.expiry.mu.Lock()
	s.expiry.lease = 0
	s.expiry.mu.Unlock()
}
