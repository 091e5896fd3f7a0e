package controller

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// LeaderElection has managers of several processes agree on one that runs the controllers, by a Lease object
// (coordination.k8s.io/v1), in the form that client-go's leader election writes and reads.
type LeaderElection struct {
	Name          string        // of the Lease; required, the same in all processes
	Namespace     string        // of the Lease; empty means kube-system
	Identity      string        // of this process, unique; empty means the host's name and a random part
	LeaseDuration time.Duration // others wait this long after the last renewal that they saw; 0 means 15 s
	RenewDeadline time.Duration // who can't renew for this long gives up; less than LeaseDuration; 0 means 10 s
	RetryPeriod   time.Duration // between attempts to get or renew the lease; 0 means 2 s
}

// election holds or seeks one lease. Its methods are called one after another, by one goroutine at a time. Instants
// in the lease are never compared with this machine's clock: only how long ago a change of it was seen counts.
type election struct {
	cfg    LeaderElection
	leases client.Typed[*coordinationv1.Lease]
	logger *zap.Logger

	seen    *coordinationv1.Lease // the last state that was read or written
	seenAt  time.Time             // when it was first seen
	renewed time.Time             // before the write that last made or kept us the holder
}

func newElection(c client.Client, cfg LeaderElection, logger *zap.Logger) (*election, error) {
	if cfg.Name == "" {
		return nil, errors.New("leader election: Name is empty: name the Lease, the same in all processes")
	}
	if cfg.Namespace == "" {
		cfg.Namespace = metav1.NamespaceSystem
	}
	if cfg.Identity == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown"
		}
		cfg.Identity = host + "_" + rand.Text()
	}
	for _, d := range []struct {
		value *time.Duration
		zero  time.Duration
	}{{&cfg.LeaseDuration, 15 * time.Second}, {&cfg.RenewDeadline, 10 * time.Second}, {&cfg.RetryPeriod, 2 * time.Second}} {
		if *d.value == 0 {
			*d.value = d.zero
		}
	}
	switch {
	case cfg.LeaseDuration < time.Second:
		return nil, fmt.Errorf("leader election: LeaseDuration is %v: a Lease counts in seconds, want at least 1s", cfg.LeaseDuration)
	case cfg.RenewDeadline >= cfg.LeaseDuration.Truncate(time.Second):
		return nil, fmt.Errorf("leader election: RenewDeadline %v must be less than LeaseDuration %v", cfg.RenewDeadline, cfg.LeaseDuration)
	case cfg.RetryPeriod <= 0 || cfg.RetryPeriod >= cfg.RenewDeadline:
		return nil, fmt.Errorf("leader election: RetryPeriod %v must be more than 0 and less than RenewDeadline %v", cfg.RetryPeriod, cfg.RenewDeadline)
	}
	return &election{
		cfg: cfg, leases: client.For(c, kind.Lease),
		logger: logger.With(zap.String("lease", cfg.Namespace+"/"+cfg.Name), zap.String("identity", cfg.Identity)),
	}, nil
}

// acquire waits until this process holds the lease; the error is ctx's.
func (e *election) acquire(ctx context.Context) error {
	jitter := backoff{base: e.cfg.RetryPeriod, max: e.cfg.RetryPeriod}
	for {
		held, err := e.attempt(ctx)
		if held {
			e.logger.Info("became the leader")
			return nil
		}
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			e.logger.Debug("lease not acquired", zap.Error(err))
		}
		if !pause(ctx, e.cfg.RetryPeriod/2+jitter.next()) {
			return ctx.Err()
		}
	}
}

// renew keeps the lease until ctx ends, and returns nil then; or until it is lost.
func (e *election) renew(ctx context.Context) error {
	for {
		if !pause(ctx, e.cfg.RetryPeriod) {
			return nil
		}
		deadline := e.renewed.Add(e.cfg.RenewDeadline)
		try, cancel := context.WithDeadline(ctx, deadline)
		held, err := e.attempt(try)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case held:
		case err == nil:
			e.logger.Warn("another process took the lease", zap.String("holder", holder(e.seen)))
			return ErrLeadershipLost
		case !time.Now().Add(e.cfg.RetryPeriod).Before(deadline):
			// The next attempt would come too late: stop while the others still wait.
			if wait := time.Until(deadline); wait > 0 && !pause(ctx, wait) {
				return nil
			}
			e.logger.Warn("lease not renewed in time", zap.Error(err))
			return ErrLeadershipLost
		}
	}
}

// attempt makes this process the holder if the lease is free, expired or its own. False without an error means that
// somebody else holds it.
func (e *election) attempt(ctx context.Context) (bool, error) {
	began := time.Now()
	lease, err := e.leases.Get(ctx, e.cfg.Namespace, e.cfg.Name)
	if apierrors.IsNotFound(err) {
		return e.write(began, func() (*coordinationv1.Lease, error) {
			lease := kind.Lease.New()
			lease.Namespace, lease.Name = e.cfg.Namespace, e.cfg.Name
			e.claim(lease)
			return e.leases.Create(ctx, lease)
		})
	}
	if err != nil {
		return false, err
	}
	e.see(lease)
	if h := holder(lease); h != "" && h != e.cfg.Identity && time.Since(e.seenAt) < e.validFor(lease) {
		return false, nil
	}
	return e.write(began, func() (*coordinationv1.Lease, error) {
		next := kind.Lease.Copy(lease)
		e.claim(next)
		return e.leases.Update(ctx, next)
	})
}

func (e *election) write(began time.Time, do func() (*coordinationv1.Lease, error)) (bool, error) {
	lease, err := do()
	if err != nil {
		return false, err
	}
	e.see(lease)
	e.renewed = began
	return true, nil
}

func (e *election) see(lease *coordinationv1.Lease) {
	if e.seen == nil || e.seen.ResourceVersion != lease.ResourceVersion {
		e.seen, e.seenAt = lease, time.Now()
	}
}

// validFor is how long the holder may go without renewing: the holder's own promise.
func (e *election) validFor(lease *coordinationv1.Lease) time.Duration {
	if s := lease.Spec.LeaseDurationSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return e.cfg.LeaseDuration
}

func (e *election) claim(lease *coordinationv1.Lease) {
	now := metav1.NowMicro()
	seconds := int32(e.cfg.LeaseDuration / time.Second)
	if holder(lease) != e.cfg.Identity {
		transitions := int32(0)
		if t := lease.Spec.LeaseTransitions; t != nil {
			transitions = *t + 1
		}
		lease.Spec.LeaseTransitions, lease.Spec.AcquireTime = &transitions, &now
	}
	identity := e.cfg.Identity
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &identity, &seconds, &now
}

// release gives the lease back so that another process need not wait. It does its best within a retry period, and
// touches nothing if the lease is somebody else's.
func (e *election) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.RetryPeriod)
	defer cancel()
	none, second := "", int32(1)
	notOurs := errors.New("not the holder")
	_, err := e.leases.Mutate(ctx, e.cfg.Namespace, e.cfg.Name, func(lease *coordinationv1.Lease) error {
		if holder(lease) != e.cfg.Identity {
			return notOurs
		}
		now := metav1.NowMicro()
		lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &none, &second, &now
		return nil
	})
	if err != nil && !errors.Is(err, notOurs) {
		e.logger.Debug("lease not released, others have to wait until it expires", zap.Error(err))
	}
}

func holder(lease *coordinationv1.Lease) string {
	if h := lease.Spec.HolderIdentity; h != nil {
		return *h
	}
	return ""
}
