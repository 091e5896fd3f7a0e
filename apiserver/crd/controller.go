package crd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

const (
	retryEvery   = time.Second            // after a failure
	cleanupEvery = 500 * time.Millisecond // while objects of a deleted definition are still there
)

// Controller puts definitions into force: it accepts their names, establishes them, and empties those that are deleted. Several may run
// at once, one beside each server: each decides the same.
type Controller struct {
	client  client.Client
	kinds   *Kinds
	logger  *zap.Logger
	running atomic.Bool
}

// NewController makes a controller over a client that may read and write definitions and delete their objects. A nil logger means none.
func NewController(c client.Client, kinds *Kinds, logger *zap.Logger) (*Controller, error) {
	if c == nil || kinds == nil {
		return nil, errors.New("crd: NewController: a client and the kinds are required")
	}
	if logger == nil {
		logger = zap.NewNop()
	}
	return &Controller{client: c, kinds: kinds, logger: logger}, nil
}

// Run follows the definitions until ctx ends, and returns nil then. A controller runs once.
func (c *Controller) Run(ctx context.Context) error {
	if !c.running.CompareAndSwap(false, true) {
		return errors.New("crd: Run was called before")
	}
	for ctx.Err() == nil {
		if err := c.follow(ctx); err != nil && ctx.Err() == nil {
			c.logger.Debug("definitions are read again", zap.Error(err))
			pause(ctx, retryEvery)
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// follow reads all definitions and acts on each change of one.
func (c *Controller) follow(ctx context.Context) error {
	view, err := client.Open(ctx, c.client, &client.Request{Verb: client.List, Kind: Type().Kind()})
	if err != nil {
		return err
	}
	defer func() { _ = view.Watcher.Close() }()
	known := map[string]*CustomResourceDefinition{}
	for _, obj := range view.Items {
		if d := definitionOf(obj); d != nil {
			known[d.Name] = d
		}
	}
	for {
		again, err := c.act(ctx, known)
		if err != nil {
			return err
		}
		if err := c.next(ctx, view.Watcher, known, again); err != nil {
			return err
		}
	}
}

// next waits for a change, or for the time to look again at what is being emptied.
func (c *Controller) next(ctx context.Context, w client.Watcher, known map[string]*CustomResourceDefinition, again bool) error {
	wait, cancel := ctx, context.CancelFunc(func() {})
	if again {
		wait, cancel = context.WithTimeout(ctx, cleanupEvery)
	}
	defer cancel()
	e, err := w.Next(wait)
	switch d := definitionOf(e.Object); {
	case err != nil && wait.Err() != nil && ctx.Err() == nil:
		return nil
	case err != nil:
		return err
	case d == nil: // a bookmark
	case e.Type == client.Deleted:
		delete(known, d.Name)
	default:
		known[d.Name] = d
	}
	return nil
}

// act brings every definition that needs it one step further. Again means that some are waiting for objects to go.
func (c *Controller) act(ctx context.Context, known map[string]*CustomResourceDefinition) (again bool, err error) {
	all := make([]*CustomResourceDefinition, 0, len(known))
	for _, name := range sortedKeys(known) {
		all = append(all, known[name])
	}
	slices.SortStableFunc(all, func(a, b *CustomResourceDefinition) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	t := Type()
	for i, d := range all {
		if d.DeletionTimestamp != nil {
			left, err := c.empty(ctx, d)
			if err != nil {
				return false, err
			}
			again = again || left
			continue
		}
		changed := t.Copy(d)
		settle(changed, all, metav1.Now())
		if equality.Semantic.DeepEqual(changed.Status, d.Status) {
			continue
		}
		stored, err := client.For(c.client, t).UpdateStatus(ctx, changed)
		switch {
		case apierrors.IsConflict(err), apierrors.IsNotFound(err): // its change is on the way here
		case err != nil:
			return false, fmt.Errorf("status of definition %s: %w", d.Name, err)
		default:
			all[i], known[d.Name] = stored, stored
		}
	}
	return again, nil
}

// empty deletes the objects of a deleted definition and lets it go when there are none. Left means that there still are some.
func (c *Controller) empty(ctx context.Context, d *CustomResourceDefinition) (left bool, err error) {
	if !slices.Contains(d.Finalizers, CleanupFinalizer) {
		return false, nil
	}
	kinds, err := c.kinds.Of(d)
	if err != nil {
		return false, err
	}
	done := Condition{Type: Terminating, Status: metav1.ConditionFalse, Reason: "InstanceDeletionCompleted", Message: "removed all instances"}
	if len(kinds) == 0 {
		done.Reason, done.Message = "NeverEstablished", "resource was never established"
		return false, c.release(ctx, d, done)
	}
	n, err := c.deleteAll(ctx, kinds[0])
	if apierrors.IsNotFound(err) { // the server behind this client does not know it yet
		return true, nil
	}
	if err != nil {
		return true, c.report(ctx, d, Condition{
			Type: Terminating, Status: metav1.ConditionTrue, Reason: "InstanceDeletionFailed", Message: fmt.Sprintf("could not issue all deletes: %v", err),
		})
	}
	if n > 0 {
		return true, c.report(ctx, d, Condition{
			Type: Terminating, Status: metav1.ConditionTrue, Reason: "InstanceDeletionInProgress", Message: "CustomResource deletion is in progress",
		})
	}
	return false, c.release(ctx, d, done)
}

// deleteAll deletes a kind's objects everywhere, and answers how many are still there.
func (c *Controller) deleteAll(ctx context.Context, k *kind.Kind) (int, error) {
	objects := client.For(c.client, kind.Untyped(k))
	if err := objects.DeleteAll(ctx); err != nil {
		return 0, err
	}
	page, err := objects.List(ctx, client.Limit(1))
	return len(page.Items), err
}

func (c *Controller) report(ctx context.Context, d *CustomResourceDefinition, cond Condition) error {
	t := Type()
	changed := t.Copy(d)
	setCondition(changed, cond, metav1.Now())
	if equality.Semantic.DeepEqual(changed.Status, d.Status) {
		return nil
	}
	_, err := client.For(c.client, t).UpdateStatus(ctx, changed)
	return ignoreGone(err)
}

// release takes the finalizer away.
func (c *Controller) release(ctx context.Context, d *CustomResourceDefinition, cond Condition) error {
	if err := c.report(ctx, d, cond); err != nil {
		return err
	}
	_, err := client.For(c.client, Type()).Mutate(ctx, "", d.Name, func(now *CustomResourceDefinition) error {
		if now.UID == d.UID {
			now.Finalizers = slices.DeleteFunc(slices.Clone(now.Finalizers), func(f string) bool { return f == CleanupFinalizer })
		}
		return nil
	})
	return ignoreGone(err)
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
