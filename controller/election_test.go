package controller

import (
	"context"
	"crypto/rand"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// cuttable is a client that can be cut off from its server: requests hang until their context ends, as over a network.
type cuttable struct {
	client.Client
	cut atomic.Bool
}

func (c *cuttable) Do(ctx context.Context, req *client.Request) (*client.Response, error) {
	if c.cut.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return c.Client.Do(ctx, req)
}

type candidate struct {
	manager *Manager
	link    *cuttable
	stop    context.CancelFunc
	done    chan error
	leads   atomic.Bool
}

// elect starts n managers that count how many lead at once.
func elect(t *testing.T, f *fake, n int, leaders *atomic.Int32) []*candidate {
	var out []*candidate
	for range n {
		c := &candidate{link: &cuttable{Client: f}, done: make(chan error, 1)}
		m, err := NewManager(c.link, ManagerConfig{LeaderElection: &LeaderElection{Name: "test", Identity: rand.Text()}})
		require.NoError(t, err)
		c.manager = m
		m.Add(RunnableFunc(func(ctx context.Context) error {
			if leaders.Add(1) > 1 {
				t.Error("two leaders")
			}
			c.leads.Store(true)
			<-ctx.Done()
			<-time.After(time.Second) // a reconcile that takes a while to end
			c.leads.Store(false)
			leaders.Add(-1)
			return nil
		}))
		var ctx context.Context
		ctx, c.stop = context.WithCancel(t.Context())
		go func() { c.done <- m.Run(ctx) }()
		out = append(out, c)
	}
	return out
}

func TestLeaderElectionFailsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var leaders atomic.Int32
		all := elect(t, newFake(), 2, &leaders)
		<-time.After(time.Minute)
		first, second := all[0], all[1]
		if second.leads.Load() {
			first, second = second, first
		}
		require.True(t, first.leads.Load())
		require.False(t, second.leads.Load())

		first.link.cut.Store(true)
		cut := time.Now()
		err := <-first.done
		require.ErrorIs(t, err, ErrLeadershipLost)
		require.Less(t, time.Since(cut), 15*time.Second+3*time.Second, "it stops, and gives up releasing, in time")
		<-second.manager.Leading()
		const pause = 3 * time.Second // the longest between two looks at the lease: one to see the last renewal, one after it expired
		require.LessOrEqual(t, time.Since(cut), 15*time.Second+2*pause)
		<-time.After(time.Minute)
		require.True(t, second.leads.Load())
		second.stop()
		require.NoError(t, <-second.done)
	})
}

func TestLeaderReleasesTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var leaders atomic.Int32
		all := elect(t, f, 3, &leaders)
		ended := 0
		for range all {
			<-time.After(10 * time.Second)
			for _, c := range all {
				if c.leads.Load() {
					stopped := time.Now()
					c.stop()
					require.NoError(t, <-c.done)
					require.Equal(t, time.Second, time.Since(stopped), "the runnable took a second to end")
					ended++
					break
				}
			}
		}
		require.Equal(t, 3, ended, "each led, without waiting for a lease to expire")
		lease, err := client.For(f, kind.Lease).Get(t.Context(), "kube-system", "test")
		require.NoError(t, err)
		require.Empty(t, *lease.Spec.HolderIdentity)
		require.EqualValues(t, 2, *lease.Spec.LeaseTransitions, "three leaders, two changes")
	})
}

func TestStolenLeaseEndsTheManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var leaders atomic.Int32
		c := elect(t, f, 1, &leaders)[0]
		<-c.manager.Leading()
		lease, err := client.For(f, kind.Lease).Get(t.Context(), "kube-system", "test")
		require.NoError(t, err)
		lease = kind.Lease.Copy(lease)
		*lease.Spec.HolderIdentity = "thief"
		_, err = client.For(f, kind.Lease).Update(t.Context(), lease)
		require.NoError(t, err)
		require.ErrorIs(t, <-c.done, ErrLeadershipLost)
		lease, err = client.For(f, kind.Lease).Get(t.Context(), "kube-system", "test")
		require.NoError(t, err)
		require.Equal(t, "thief", *lease.Spec.HolderIdentity, "a lease that is somebody else's is left alone")
	})
}

// TestOneLeaderUnderFaults cuts links at random for a long time: never two leaders, and a leader at the end.
func TestOneLeaderUnderFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var leaders atomic.Int32
		alive := elect(t, f, 3, &leaders)
		lost := 0
		for range 20 {
			<-time.After(30 * time.Second)
			for i, c := range alive {
				if !c.leads.Load() {
					continue
				}
				c.link.cut.Store(true)
				err := <-c.done
				require.True(t, errors.Is(err, ErrLeadershipLost), "%v", err)
				lost++
				alive[i] = elect(t, f, 1, &leaders)[0]
			}
		}
		require.Greater(t, lost, 10)
		<-time.After(time.Minute)
		require.EqualValues(t, 1, leaders.Load())
		for _, c := range alive {
			c.stop()
			require.NoError(t, <-c.done)
		}
	})
}

func TestStandbyIsWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var leaders atomic.Int32
		all := elect(t, f, 1, &leaders)
		<-all[0].manager.Leading()
		standby, err := NewManager(f, ManagerConfig{LeaderElection: &LeaderElection{Name: "test"}})
		require.NoError(t, err)
		cms := InformerFor(standby, kind.ConfigMap)
		runs(t, standby)
		create(t, f, configMap("a", "b", "1"))
		require.NoError(t, cms.WaitRevision(t.Context(), 3))
		_, ok := cms.Get("a", "b")
		require.True(t, ok)
		all[0].stop()
		require.NoError(t, <-all[0].done)
	})
}

func TestLeaderElectionConfig(t *testing.T) {
	for want, cfg := range map[string]LeaderElection{
		"Name":          {},
		"LeaseDuration": {Name: "a", LeaseDuration: time.Millisecond},
		"RenewDeadline": {Name: "a", RenewDeadline: time.Minute},
		"RetryPeriod":   {Name: "a", RetryPeriod: time.Minute},
	} {
		_, err := NewManager(newFake(), ManagerConfig{LeaderElection: &cfg})
		require.ErrorContains(t, err, want)
	}
}
