package controller

import (
	"context"
	"strings"
	"time"
)

// Reconciler makes the world agree with one object. It reads the present state, usually from informers, does what is
// missing, and returns; it is called again when something changed. The key's object may not exist (any more).
type Reconciler interface {
	Reconcile(ctx context.Context, key Key) (Result, error)
}

// ReconcilerFunc is a Reconciler made of a function.
type ReconcilerFunc func(ctx context.Context, key Key) (Result, error)

// Reconcile calls f.
func (f ReconcilerFunc) Reconcile(ctx context.Context, key Key) (Result, error) { return f(ctx, key) }

// Result says when to look again although nothing changed.
type Result struct {
	RequeueAfter time.Duration // 0 means not before something changes; ignored beside an error
}

// Reason is what happened to bring a reconcile about.
type Reason string

// The reasons.
const (
	Added    Reason = "added"    // an object appeared, or was there at the start
	Updated  Reason = "updated"  // an object changed
	Deleted  Reason = "deleted"  // an object went
	Enqueued Reason = "enqueued" // Controller.Enqueue was called
	Requeued Reason = "requeued" // the time in Result.RequeueAfter is over
	Retried  Reason = "retried"  // the last reconcile failed
)

// Cause is one reason for a reconcile with the object that it was about, which is the reconciled one itself or,
// through Owns and Watches, another. Kind is empty for the reasons Enqueued, Requeued and Retried.
type Cause struct {
	Reason   Reason
	Kind     string
	Object   Key
	Revision string // the object's resource version, where one is known
}

// String is such as "Pod default/web updated".
func (c Cause) String() string {
	if c.Kind == "" {
		return string(c.Reason)
	}
	return c.Kind + " " + display(c.Object) + " " + string(c.Reason)
}

// Causes are why a reconcile ran, oldest first: the last few, when there were many.
type Causes []Cause

// String lists them with commas.
func (c Causes) String() string {
	var b strings.Builder
	for i, cause := range c {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(cause.String())
	}
	return b.String()
}

// maxCauses bounds what is kept for one key.
const maxCauses = 4

type causesKey struct{}

// Trigger tells, inside a reconcile, why it ran. It is for logs and people: decisions belong to the present state.
func Trigger(ctx context.Context) Causes {
	c, _ := ctx.Value(causesKey{}).(Causes)
	return c
}
