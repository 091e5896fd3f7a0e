package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

func ExampleInformer() {
	ctx, cancel := context.WithCancel(context.Background())
	var c client.Client = newFake() // keelson's or apiserver's client in a program
	_, _ = client.For(c, kind.ConfigMap).Create(ctx, configMap("default", "settings", "blue"))

	settings := NewInformer(c, kind.ConfigMap, InformerConfig{Namespace: "default"})
	done := make(chan error)
	go func() { done <- settings.Run(ctx) }()
	found, err := settings.WaitFor(ctx, "default", "settings", func(_ *corev1.ConfigMap, exists bool) bool { return exists })
	fmt.Println(found.Data["value"], err)
	fmt.Println(len(settings.List()), "in all")
	cancel()
	fmt.Println(<-done)
	// Output:
	// blue <nil>
	// 1 in all
	// <nil>
}

// clients runs a test against both forms of client.
func clients(t *testing.T, test func(t *testing.T, f *fake, c client.Client)) {
	for _, name := range []string{"remote", "in-process"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				if name == "remote" {
					test(t, f, f)
					return
				}
				test(t, f, local{f})
			})
		})
	}
}

// runs starts r and ends it with the test.
func runs(t *testing.T, r Runnable) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

// TestInformerAgreesWithModel writes at random while streams break and history goes, and compares with a map: the
// view at the end, the indices, and what handlers were told, replayed.
func TestInformerAgreesWithModel(t *testing.T) {
	clients(t, func(t *testing.T, f *fake, c client.Client) {
		ctx := t.Context()
		inf := NewInformer(c, kind.ConfigMap, InformerConfig{})
		byValue := func(cm *corev1.ConfigMap) []string { return []string{cm.Data["value"], "any"} }
		require.NoError(t, inf.AddIndex("value", byValue))
		told := map[Key]string{}
		problems := 0
		inf.OnChange(func(old, new *corev1.ConfigMap) {
			switch {
			case old == nil:
				if _, ok := told[KeyOf(new)]; ok {
					problems++
				}
				told[KeyOf(new)] = new.Data["value"]
			case new == nil:
				if _, ok := told[KeyOf(old)]; !ok {
					problems++
				}
				delete(told, KeyOf(old))
			default:
				if told[KeyOf(old)] != old.Data["value"] || old.UID != new.UID {
					problems++
				}
				told[KeyOf(new)] = new.Data["value"]
			}
		})
		runs(t, inf)
		require.NoError(t, inf.Wait(ctx))
		require.ErrorIs(t, inf.AddIndex("late", byValue), ErrRunning)
		require.NoError(t, inf.AddIndex("value", byValue))

		rng := rand.New(rand.NewPCG(1, 2))
		cms := client.For(c, kind.ConfigMap)
		model := map[Key]string{}
		expiries := 0
		var last int64
		for n := range 3000 {
			key := Key{Namespace: fmt.Sprint("ns", rng.IntN(3)), Name: fmt.Sprint("cm", rng.IntN(8))}
			value := fmt.Sprint(rng.IntN(5))
			_, exists := model[key]
			switch {
			case !exists:
				_, err := cms.Create(ctx, configMap(key.Namespace, key.Name, value))
				require.NoError(t, err)
				model[key] = value
			case rng.IntN(3) == 0:
				require.NoError(t, cms.Delete(ctx, key.Namespace, key.Name))
				delete(model, key)
			default:
				_, err := cms.Update(ctx, configMap(key.Namespace, key.Name, value))
				require.NoError(t, err)
				model[key] = value
			}
			switch rng.IntN(60) {
			case 0:
				f.disconnect(io.EOF)
			case 1:
				f.disconnect(errors.New("connection reset"))
			case 2:
				f.disconnect(io.EOF)
				f.compact()
				expiries++
			case 3:
				var tries atomic.Int32
				f.setHook(func(req *client.Request) error {
					if (req.Verb == client.List || req.Verb == client.Watch) && tries.Add(1) <= 3 {
						return apierrors.NewServiceUnavailable("restarting")
					}
					return nil
				})
				f.disconnect(io.EOF)
			case 4, 5:
				synctest.Wait()
			case 6:
				require.NoError(t, inf.core.catchUp(ctx))
				require.Len(t, inf.List(), len(model), "step %d", n)
			}
			revision := inf.Revision()
			require.GreaterOrEqual(t, revision, last)
			last = revision
		}
		f.setHook(nil)
		require.NoError(t, inf.core.catchUp(ctx))
		require.Greater(t, expiries, 5)
		require.Zero(t, problems)
		require.Equal(t, model, told)
		require.Len(t, inf.ByIndex("value", "any"), len(model))
		perNamespace := 0
		for ns := range 3 {
			objs := inf.InNamespace(fmt.Sprint("ns", ns))
			perNamespace += len(objs)
			for _, cm := range objs {
				require.Equal(t, fmt.Sprint("ns", ns), cm.Namespace)
			}
		}
		require.Equal(t, len(model), perNamespace)
		for key, value := range model {
			cm, ok := inf.Get(key.Namespace, key.Name)
			require.True(t, ok)
			require.Equal(t, value, cm.Data["value"])
			require.Contains(t, inf.ByIndex("value", value), cm)
		}
		for v := range 5 {
			for _, cm := range inf.ByIndex("value", fmt.Sprint(v)) {
				require.Equal(t, fmt.Sprint(v), cm.Data["value"])
			}
		}
	})
}

func TestInformerReportsUnseenDeletionWithLastState(t *testing.T) {
	clients(t, func(t *testing.T, f *fake, c client.Client) {
		cms := client.For(c, kind.ConfigMap)
		for _, name := range []string{"gone", "replaced", "kept"} {
			_, err := cms.Create(t.Context(), configMap("a", name, "first"))
			require.NoError(t, err)
		}
		inf := NewInformer(c, kind.ConfigMap, InformerConfig{})
		var told []string
		inf.OnChange(func(old, new *corev1.ConfigMap) {
			line := "changed"
			switch {
			case old == nil:
				line = "added " + new.Name + " " + new.Data["value"]
			case new == nil:
				line = "deleted " + old.Name + " " + old.Data["value"]
			}
			told = append(told, line)
		})
		runs(t, inf)
		require.NoError(t, inf.Wait(t.Context()))
		synctest.Wait()
		told = nil

		f.setHook(func(req *client.Request) error {
			if req.Verb == client.List || req.Verb == client.Watch {
				return apierrors.NewServiceUnavailable("away")
			}
			return nil
		})
		f.disconnect(io.EOF)
		synctest.Wait()
		require.NoError(t, cms.Delete(t.Context(), "a", "gone"))
		require.NoError(t, cms.Delete(t.Context(), "a", "replaced"))
		_, err := cms.Create(t.Context(), configMap("a", "replaced", "second"))
		require.NoError(t, err)
		f.compact()
		f.setHook(nil)
		require.NoError(t, inf.core.catchUp(t.Context()))
		require.Equal(t, []string{"deleted gone first", "deleted replaced first", "added replaced second"}, told)
	})
}

func TestInformerContinuesWithoutListing(t *testing.T) {
	clients(t, func(t *testing.T, f *fake, c client.Client) {
		inf := NewInformer(c, kind.ConfigMap, InformerConfig{})
		runs(t, inf)
		require.NoError(t, inf.Wait(t.Context()))
		synctest.Wait()
		for range 3 {
			f.disconnect(io.EOF)
			_, err := client.For(c, kind.ConfigMap).Create(t.Context(), configMap("a", fmt.Sprint("cm", f.revision), "x"))
			require.NoError(t, err)
			require.NoError(t, inf.WaitRevision(t.Context(), f.revision))
		}
		require.Equal(t, 1, f.lists)
	})
}

func TestInformerStormOfExpiryBacksOff(t *testing.T) {
	clients(t, func(t *testing.T, f *fake, c client.Client) {
		var tries atomic.Int32
		f.setHook(func(*client.Request) error {
			tries.Add(1)
			return apierrors.NewResourceExpired("storm")
		})
		inf := NewInformer(c, kind.ConfigMap, InformerConfig{})
		runs(t, inf)
		<-time.After(10 * time.Minute)
		require.Greater(t, tries.Load(), int32(20))
		require.Less(t, tries.Load(), int32(60))
		f.setHook(nil)
		require.NoError(t, inf.Wait(t.Context()))
	})
}

func TestInformerLateHandlerIsToldOfWhatIsThere(t *testing.T) {
	clients(t, func(t *testing.T, f *fake, c client.Client) {
		cms := client.For(c, kind.ConfigMap)
		_, err := cms.Create(t.Context(), configMap("a", "b", "1"))
		require.NoError(t, err)
		inf := NewInformer(c, kind.ConfigMap, InformerConfig{})
		runs(t, inf)
		require.NoError(t, inf.Wait(t.Context()))
		var told []string
		inf.OnChange(func(old, new *corev1.ConfigMap) { told = append(told, new.Name) })
		synctest.Wait()
		require.Equal(t, []string{"b"}, told)
		require.ErrorIs(t, inf.Run(t.Context()), ErrAlreadyRun)
	})
}

func TestInformerWaitFor(t *testing.T) {
	clients(t, func(t *testing.T, f *fake, c client.Client) {
		cms := client.For(c, kind.ConfigMap)
		inf := NewInformer(c, kind.ConfigMap, InformerConfig{})
		runs(t, inf)
		go func() {
			for n := range 4 {
				<-time.After(time.Minute)
				if n == 0 {
					_, _ = cms.Create(t.Context(), configMap("a", "b", "0"))
					continue
				}
				_, _ = cms.Update(t.Context(), configMap("a", "b", fmt.Sprint(n)))
			}
			_ = cms.Delete(t.Context(), "a", "b")
		}()
		cm, err := inf.WaitFor(t.Context(), "a", "b", func(cm *corev1.ConfigMap, ok bool) bool { return ok && cm.Data["value"] == "2" })
		require.NoError(t, err)
		require.Equal(t, "2", cm.Data["value"])
		cm, err = inf.WaitFor(t.Context(), "a", "b", func(_ *corev1.ConfigMap, ok bool) bool { return !ok })
		require.NoError(t, err)
		require.Nil(t, cm)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err = inf.WaitFor(ctx, "a", "b", func(_ *corev1.ConfigMap, ok bool) bool { return ok })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "configmaps a/b")
	})
}
