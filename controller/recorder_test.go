package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

func ExampleRecorder() {
	ctx, cancel := context.WithCancel(context.Background())
	c := newFake()
	r := NewRecorder(c, "scheduler", "")
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	node := kind.Node.New()
	node.Name = "n1"
	for range 3 {
		r.Event(node, corev1.EventTypeWarning, "Full", "node %s has no room", node.Name)
	}
	_ = r.Idle(ctx)
	events, err := client.For(c, kind.Event).List(ctx)
	for _, e := range events.Items {
		fmt.Println(e.Namespace, e.InvolvedObject.Kind, e.Reason, e.Message, e.Count)
	}
	cancel()
	fmt.Println(err, <-done)
	// Output:
	// default Node Full node n1 has no room 3
	// <nil> <nil>
}

func TestRecorderSurvivesFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		r := NewRecorder(f, "test", "host")
		runs(t, r)
		failures := 2
		f.setHook(func(*client.Request) error {
			if failures > 0 {
				failures--
				return errors.New("connection refused")
			}
			return nil
		})
		cm := configMap("a", "b", "")
		r.Event(cm, corev1.EventTypeNormal, "One", "%s", strings.Repeat("ä", 2000))
		require.NoError(t, r.Idle(t.Context()))
		require.Len(t, f.objects["events"], 1)
		for key, obj := range f.objects["events"] {
			require.True(t, strings.HasPrefix(key.Name, "b."))
			require.LessOrEqual(t, len(obj.(*corev1.Event).Message), maxEventMessage)
			require.True(t, strings.HasSuffix(obj.(*corev1.Event).Message, "ä..."))
			require.NoError(t, client.For(f, kind.Event).Delete(t.Context(), key.Namespace, key.Name))
		}
		r.Event(cm, corev1.EventTypeNormal, "One", "%s", strings.Repeat("ä", 2000)) // the counted event has expired
		require.NoError(t, r.Idle(t.Context()))
		require.Len(t, f.objects["events"], 1)

		refusals := 0
		f.setHook(func(req *client.Request) error {
			refusals++
			return apierrors.NewForbidden(req.Kind.GroupResource(), req.Name, errors.New("terminating"))
		})
		r.Event(cm, corev1.EventTypeNormal, "Two", "no")
		require.NoError(t, r.Idle(t.Context()))
		require.Equal(t, 1, refusals)
	})
}

func TestRecorderNeverBlocksAndFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		r := NewRecorder(f, "test", "")
		for n := range maxPendingEvents + 10 {
			r.Event(configMap("a", "b", ""), corev1.EventTypeNormal, "R", "number %d", n)
		}
		require.Equal(t, 10, r.dropped)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, r.Run(ctx))
		require.Equal(t, maxPendingEvents, len(f.objects["events"]))
		require.ErrorIs(t, r.Run(ctx), ErrAlreadyRun)
	})
}

func TestRecordersOfTwoComponentsAtOneInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		for _, component := range []string{"a", "b", "c"} {
			r := NewRecorder(f, component, "")
			runs(t, r)
			r.Event(configMap("a", "b", ""), corev1.EventTypeNormal, "Same", "instant")
			require.NoError(t, r.Idle(t.Context()))
		}
		require.Len(t, f.objects["events"], 3)
	})
}
