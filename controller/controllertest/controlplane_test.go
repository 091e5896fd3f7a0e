package controllertest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/controller/controllertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type greetingSpec struct {
	Name string `json:"name"`
}

type greetingStatus struct {
	Words string `json:"words,omitempty"`
}

var greetings = kind.Must(kind.Define[greetingSpec, greetingStatus]("example.com/v1", "Greeting"))

type greeting = kind.Object[greetingSpec, greetingStatus]

// addGreeter adds a small controller: each Greeting gets a ConfigMap with the words, which its status repeats.
func addGreeter(t testing.TB, m *controller.Manager) {
	all := controller.InformerFor(m, greetings)
	reconcile := func(ctx context.Context, key controller.Key) (controller.Result, error) {
		g, ok := all.Get(key.Namespace, key.Name)
		if !ok {
			return controller.Result{}, nil
		}
		words := "hello " + g.Spec.Name
		maps := client.For(m.Client(), kind.ConfigMap)
		_, err := maps.Get(ctx, key.Namespace, key.Name)
		if apierrors.IsNotFound(err) {
			cm := kind.ConfigMap.New()
			cm.Namespace, cm.Name, cm.Data = key.Namespace, key.Name, map[string]string{"words": words}
			controller.SetOwner(g, cm, greetings.Kind())
			_, err = maps.Create(ctx, cm)
		} else if err == nil {
			_, err = maps.Mutate(ctx, key.Namespace, key.Name, func(cm *corev1.ConfigMap) error {
				cm.Data["words"] = words
				return nil
			})
		}
		if err != nil || g.Status.Words == words {
			return controller.Result{}, err
		}
		next := greetings.Copy(g)
		next.Status.Words = words
		_, err = client.For(m.Client(), greetings).UpdateStatus(ctx, next)
		m.Recorder("greeter").Event(g, corev1.EventTypeNormal, "Greeted", "said %q", words)
		return controller.Result{}, err
	}
	_, err := controller.New(m, "greeter", controller.ReconcilerFunc(reconcile), controller.Config{},
		controller.For(greetings), controller.Owns(kind.ConfigMap, greetings))
	require.NoError(t, err)
}

const manifest = `
apiVersion: example.com/v1
kind: Greeting
metadata: {name: one}
spec: {name: world}
`

// Example of a whole test of a controller; see addGreeter.
func TestGreeter(t *testing.T) {
	cp := controllertest.New(t, controllertest.Kinds(greetings.Kind()))
	addGreeter(t, cp.Manager)
	cp.Start()
	cp.Apply(manifest)
	cp.Idle()
	cm := controllertest.Get(cp, kind.ConfigMap, "default", "one")
	require.Equal(t, "hello world", cm.Data["words"])

	controllertest.Delete(cp, kind.ConfigMap, "default", "one") // the controller heals it
	controllertest.WaitFor(cp, kind.ConfigMap, "default", "one", func(now *corev1.ConfigMap) bool { return now.UID != cm.UID })

	controllertest.Mutate(cp, greetings, "default", "one", func(g *greeting) { g.Spec.Name = "moon" })
	controllertest.WaitFor(cp, greetings, "default", "one", func(g *greeting) bool { return g.Status.Words == "hello moon" })
	cp.Idle()
	require.True(t, controllertest.Exists(cp, kind.ConfigMap, "default", "one"))
	require.Len(t, controllertest.List(cp, kind.Event, "default"), 2)
	controllertest.Delete(cp, greetings, "default", "one")
	controllertest.WaitGone(cp, greetings, "default", "one")
}

func TestGreeterInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := controllertest.New(t, controllertest.Kinds(greetings.Kind()), controllertest.Timeout(24*time.Hour),
			controllertest.Elected(controller.LeaderElection{Name: "greeter"}))
		addGreeter(t, cp.Manager)
		cp.Start()
		<-time.After(10 * time.Hour)
		cp.Apply(manifest)
		cp.Idle()
		require.Equal(t, "hello world", controllertest.Get(cp, kind.ConfigMap, "default", "one").Data["words"])
	})
}

// TestGreeterUnderFaults puts every kind of fault in force and asserts that each happened and all was healed.
func TestGreeterUnderFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := controllertest.New(t, controllertest.Kinds(greetings.Kind()), controllertest.Timeout(24*time.Hour))
		addGreeter(t, cp.Manager)
		k := kind.ConfigMap.Kind()
		injected := []*controllertest.Injection{
			cp.Faults.Inject(controllertest.Fault{Verb: client.Create, Kind: k, Count: 2, LoseReply: true}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Create, Kind: k, Count: 3, Err: errors.New("refused")}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Get, Kind: k, Count: 5, Delay: time.Minute}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Update, Kind: greetings.Kind(), Subresource: "status", Count: 12, Conflict: true}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Watch, Count: 4, Err: controllertest.Expired()}),
		}
		cp.Start()
		for n := range 5 {
			cp.Apply(strings.ReplaceAll(manifest, "one", fmt.Sprint("greeting-", n)))
			<-time.After(time.Minute)
			require.Positive(t, cp.Faults.EndWatches([]error{io.EOF, controllertest.Expired(), errors.New("broken")}[n%3]))
		}
		for n := range 5 {
			controllertest.WaitFor(cp, greetings, "default", fmt.Sprint("greeting-", n), func(g *greeting) bool { return g.Status.Words == "hello world" })
		}
		cp.Idle()
		require.Len(t, controllertest.List(cp, kind.ConfigMap, "default"), 5)
		for n, want := range []int{2, 3, 5, 12, 4} {
			require.Equal(t, want, injected[n].Hits(), "fault %d", n)
		}
	})
}

// failing catches what a ControlPlane reports, in place of a test that is expected to fail.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	panic(f)
}

func TestWaitForShowsTheLastState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failing{TB: t}
		cp := controllertest.New(f)
		cp.Apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {colour: blue}}")
		defer func() {
			require.Same(t, f, recover())
			require.Contains(t, f.message, "wait for configmaps default/a: context deadline exceeded")
			require.Contains(t, f.message, "colour: blue")
		}()
		controllertest.WaitFor(cp, kind.ConfigMap, "default", "a", func(cm *corev1.ConfigMap) bool { return cm.Data["colour"] == "red" })
	})
}

func TestManyControlPlanesInOneProcess(t *testing.T) {
	for n := range 8 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			cp := controllertest.New(t, controllertest.Kinds(greetings.Kind()))
			addGreeter(t, cp.Manager)
			cp.Start()
			cp.Apply(manifest)
			cp.Idle()
			require.Equal(t, "hello world", controllertest.Get(cp, kind.ConfigMap, "default", "one").Data["words"])
		})
	}
}

func BenchmarkControllerTest(b *testing.B) {
	for b.Loop() {
		cp := controllertest.New(b, controllertest.Kinds(greetings.Kind()))
		addGreeter(b, cp.Manager)
		cp.Start()
		cp.Apply(manifest)
		cp.Idle()
	}
}
