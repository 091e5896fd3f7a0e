package controller

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

func ExampleController() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var c client.Client = newFake() // keelson's or apiserver's client in a program
	m, err := NewManager(c, ManagerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	settings := InformerFor(m, kind.ConfigMap)
	reconciler := ReconcilerFunc(func(ctx context.Context, key Key) (Result, error) {
		cm, ok := settings.Get(key.Namespace, key.Name)
		if ok {
			fmt.Println(key, "is", cm.Data["value"], "because:", Trigger(ctx))
		}
		return Result{}, nil
	})
	if _, err := New(m, "settings", reconciler, Config{Workers: 2}, For(kind.ConfigMap)); err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	_, _ = client.For(c, kind.ConfigMap).Create(ctx, configMap("default", "colour", "blue"))
	_ = m.Idle(ctx)
	cancel()
	fmt.Println(<-done)
	// Output:
	// default/colour is blue because: ConfigMap default/colour added
	// <nil>
}

func ExampleManager() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	m, err := NewManager(newFake(), ManagerConfig{LeaderElection: &LeaderElection{Name: "example", Identity: "a"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	m.Add(RunnableFunc(func(ctx context.Context) error {
		fmt.Println("leading")
		cancel()
		return nil
	}))
	fmt.Println(m.Run(ctx))
	// Output:
	// leading
	// <nil>
}

func newTestManager(t *testing.T, c client.Client) *Manager {
	m, err := NewManager(c, ManagerConfig{})
	require.NoError(t, err)
	return m
}

func create(t *testing.T, c client.Client, cm *corev1.ConfigMap) *corev1.ConfigMap {
	out, err := client.For(c, kind.ConfigMap).Create(t.Context(), cm)
	require.NoError(t, err)
	return out
}

func TestReconcilePanicIsRetriedWithBackOff(t *testing.T) {
	clients(t, func(t *testing.T, f *fake, c client.Client) {
		m := newTestManager(t, c)
		panics := 0
		_, err := New(m, "panicky", ReconcilerFunc(func(context.Context, Key) (Result, error) {
			if panics < 4 {
				panics++
				panic("poison")
			}
			return Result{}, nil
		}), Config{}, For(kind.ConfigMap))
		require.NoError(t, err)
		create(t, c, configMap("a", "b", ""))
		runs(t, m)
		began := time.Now()
		require.NoError(t, m.Idle(t.Context()))
		require.Equal(t, 4, panics)
		require.GreaterOrEqual(t, time.Since(began), 5*(1+2+4+8)*time.Millisecond)
	})
}

func TestTerminalErrorIsNotRetried(t *testing.T) {
	clients(t, func(t *testing.T, f *fake, c client.Client) {
		m := newTestManager(t, c)
		ran := 0
		_, err := New(m, "c", ReconcilerFunc(func(context.Context, Key) (Result, error) {
			ran++
			return Result{RequeueAfter: time.Second}, fmt.Errorf("wrapped: %w", Terminal(errors.New("impossible")))
		}), Config{}, For(kind.ConfigMap))
		require.NoError(t, err)
		create(t, c, configMap("a", "b", "1"))
		runs(t, m)
		require.NoError(t, m.Idle(t.Context()))
		<-time.After(time.Hour)
		synctest.Wait()
		require.Equal(t, 1, ran)
		_, err = client.For(c, kind.ConfigMap).Update(t.Context(), configMap("a", "b", "2"))
		require.NoError(t, err)
		require.NoError(t, m.Idle(t.Context()))
		require.Equal(t, 2, ran)
	})
}

// TestEndlessConflict has every write fail for an hour: retries are bounded, other keys are not held up, and it
// converges when the fault stops.
func TestEndlessConflict(t *testing.T) {
	clients(t, func(t *testing.T, f *fake, c client.Client) {
		m := newTestManager(t, c)
		cms := InformerFor(m, kind.ConfigMap)
		var faulty atomic.Bool
		var tries atomic.Int32
		faulty.Store(true)
		f.setHook(func(req *client.Request) error {
			if req.Verb == client.Update && req.Name == "contested" {
				tries.Add(1)
				if faulty.Load() {
					return apierrors.NewConflict(req.Kind.GroupResource(), req.Name, errors.New("injected"))
				}
			}
			return nil
		})
		_, err := New(m, "c", ReconcilerFunc(func(ctx context.Context, key Key) (Result, error) {
			cm, ok := cms.Get(key.Namespace, key.Name)
			if !ok || cm.Data["value"] == "done" {
				return Result{}, nil
			}
			next := kind.ConfigMap.Copy(cm)
			next.Data["value"] = "done"
			_, err := client.For(c, kind.ConfigMap).Update(ctx, next)
			return Result{}, err
		}), Config{}, For(kind.ConfigMap))
		require.NoError(t, err)
		create(t, c, configMap("a", "contested", "new"))
		create(t, c, configMap("a", "free", "new"))
		runs(t, m)
		done := func(cm *corev1.ConfigMap, ok bool) bool { return ok && cm.Data["value"] == "done" }
		_, err = cms.WaitFor(t.Context(), "a", "free", done)
		require.NoError(t, err)
		<-time.After(time.Hour)
		require.Greater(t, tries.Load(), int32(10))
		require.Less(t, tries.Load(), int32(40))
		faulty.Store(false)
		_, err = cms.WaitFor(t.Context(), "a", "contested", done)
		require.NoError(t, err)
	})
}

func TestOneKeyIsReconciledByOneWorkerAtATime(t *testing.T) {
	clients(t, func(t *testing.T, f *fake, c client.Client) {
		m := newTestManager(t, c)
		var busy [3]atomic.Int32
		var most, sideBySide atomic.Int32
		ran := make([]atomic.Int32, 3)
		ctrl, err := New(m, "c", ReconcilerFunc(func(ctx context.Context, key Key) (Result, error) {
			n := int(key.Name[0] - '0')
			sideBySide.Add(1)
			defer sideBySide.Add(-1)
			most.Store(max(most.Load(), sideBySide.Load()))
			if busy[n].Add(1) > 1 {
				t.Error("two workers on one key")
			}
			<-time.After(time.Second)
			busy[n].Add(-1)
			ran[n].Add(1)
			return Result{}, nil
		}), Config{Workers: 8})
		require.NoError(t, err)
		runs(t, m)
		for range 30 {
			for n := range 3 {
				ctrl.Enqueue(Key{Name: fmt.Sprint(n)})
			}
			<-time.After(100 * time.Millisecond)
		}
		require.NoError(t, m.Idle(t.Context()))
		require.EqualValues(t, 3, most.Load())
		for n := range 3 {
			require.EqualValues(t, 4, ran[n].Load(), "30 additions in 3 s to a key that takes 1 s, and once more for the last")
		}
	})
}

func TestSources(t *testing.T) {
	clients(t, func(t *testing.T, f *fake, c client.Client) {
		m := newTestManager(t, c)
		var ran []string
		record := ReconcilerFunc(func(ctx context.Context, key Key) (Result, error) {
			ran = append(ran, display(key)+": "+Trigger(ctx).String())
			return Result{}, nil
		})
		owner := kind.Deployment.New()
		owner.Namespace, owner.Name, owner.UID = "a", "owner", "u1"
		_, err := New(m, "owners", record, Config{}, Owns(kind.ConfigMap, kind.Deployment, LabelChanged))
		require.NoError(t, err)
		_, err = New(m, "owners", record, Config{})
		require.ErrorContains(t, err, "already")
		_, err = New(m, "", record, Config{})
		require.Error(t, err)
		_, err = New(m, "negative", record, Config{Workers: -1})
		require.ErrorContains(t, err, "Workers")
		runs(t, m)
		owned := configMap("a", "owned", "1")
		SetOwner(owner, owned, kind.Deployment.Kind())
		require.True(t, OwnedBy(owned, owner))
		owned = kind.ConfigMap.Copy(create(t, c, owned))
		create(t, c, configMap("a", "stray", "1"))
		require.NoError(t, m.Idle(t.Context()))
		owned.Data["value"] = "2"
		owned, err = client.For(c, kind.ConfigMap).Update(t.Context(), owned)
		require.NoError(t, err)
		require.NoError(t, m.Idle(t.Context()))
		require.Equal(t, []string{"a/owner: ConfigMap a/owned added"}, ran)
		owned = kind.ConfigMap.Copy(owned)
		owned.Labels["value"] = "2"
		_, err = client.For(c, kind.ConfigMap).Update(t.Context(), owned)
		require.NoError(t, err)
		require.NoError(t, m.Idle(t.Context()))
		require.NoError(t, client.For(c, kind.ConfigMap).Delete(t.Context(), "a", "owned"))
		require.NoError(t, m.Idle(t.Context()))
		require.Equal(t, []string{"a/owner: ConfigMap a/owned updated", "a/owner: ConfigMap a/owned deleted"}, ran[1:])
	})
}

func TestRequeueAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t, newFake())
		var at []time.Duration
		began := time.Now()
		ctrl, err := New(m, "c", ReconcilerFunc(func(ctx context.Context, key Key) (Result, error) {
			at = append(at, time.Since(began))
			return Result{RequeueAfter: time.Minute}, nil
		}), Config{})
		require.NoError(t, err)
		ctrl.Enqueue(Key{Name: "x"})
		runs(t, m)
		<-time.After(150 * time.Second)
		synctest.Wait()
		require.Equal(t, []time.Duration{0, time.Minute, 2 * time.Minute}, at)
	})
}

func TestManagerEndsWithFirstError(t *testing.T) {
	clients(t, func(t *testing.T, f *fake, c client.Client) {
		m := newTestManager(t, c)
		broken := errors.New("broken")
		ended := false
		m.Add(RunnableFunc(func(ctx context.Context) error {
			<-ctx.Done()
			ended = true
			return ctx.Err()
		}))
		m.Add(RunnableFunc(func(ctx context.Context) error {
			<-time.After(time.Second)
			return broken
		}))
		InformerFor(m, kind.Pod)
		require.ErrorIs(t, m.Run(t.Context()), broken)
		require.True(t, ended)
		require.ErrorIs(t, m.Run(t.Context()), ErrAlreadyRun)
	})
}

func TestManagerStartsWhatComesLate(t *testing.T) {
	clients(t, func(t *testing.T, f *fake, c client.Client) {
		m := newTestManager(t, c)
		runs(t, m)
		<-m.Leading()
		create(t, c, configMap("a", "b", "1"))
		ran := make(chan Key, 1)
		_, err := New(m, "late", ReconcilerFunc(func(_ context.Context, key Key) (Result, error) {
			ran <- key
			return Result{}, nil
		}), Config{}, For(kind.ConfigMap))
		require.NoError(t, err)
		require.Equal(t, Key{Namespace: "a", Name: "b"}, <-ran)
		require.Same(t, InformerFor(m, kind.ConfigMap), InformerFor(m, kind.ConfigMap))
		m.Recorder("late").Event(configMap("a", "b", "1"), corev1.EventTypeNormal, "Late", "it works")
		require.NoError(t, m.Idle(t.Context()))
		require.Len(t, f.objects["events"], 1)
	})
}

func TestIdleSaysWhatIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t, newFake())
		ctrl, err := New(m, "slow", ReconcilerFunc(func(ctx context.Context, key Key) (Result, error) {
			<-time.After(time.Hour)
			return Result{}, nil
		}), Config{})
		require.NoError(t, err)
		ctrl.Enqueue(Key{Name: "x"})
		runs(t, m)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = m.Idle(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "controller slow is busy: 0 ready, 1 being reconciled")
	})
}
