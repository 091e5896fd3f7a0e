package admission

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Request is one write on its way to the store.
type Request struct {
	Verb        client.Verb // create, update or delete; a patch is an update
	Kind        *kind.Kind  // the server's own description
	Subresource string      // such as status, scale, binding; empty for the object itself
	Namespace   string
	Name        string // empty on a create whose name is still to be generated
	Object      kind.Instance
	Old         kind.Instance // nil on create; shared, read-only
	User        authn.User
	DryRun      bool

	// Warnings are sentences for the user, returned with the answer.
	Warnings []string
}

// Plugin is one link of the chain.
type Plugin struct {
	Name     string
	Mutate   func(ctx context.Context, r *Request) error // may change r.Object; nil means nothing to change
	Validate func(ctx context.Context, r *Request) error // may refuse; nil means everything is accepted
}

// Chain is an ordered list of plugins.
type Chain []Plugin

// Mutate runs the Mutate functions in order, up to the first error.
func (c Chain) Mutate(ctx context.Context, r *Request) error {
	for i := range c {
		if c[i].Mutate == nil {
			continue
		}
		if err := c[i].Mutate(ctx, r); err != nil {
			return c[i].refuse(r, err)
		}
	}
	return nil
}

// Validate runs the Validate functions in order, up to the first error.
func (c Chain) Validate(ctx context.Context, r *Request) error {
	for i := range c {
		if c[i].Validate == nil {
			continue
		}
		if err := c[i].Validate(ctx, r); err != nil {
			return c[i].refuse(r, err)
		}
	}
	return nil
}

func (p *Plugin) refuse(r *Request, err error) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return Forbidden(r, fmt.Sprintf("admission plugin %s: %v", p.Name, err))
}

// Forbidden is the 403 status that refuses r.
func Forbidden(r *Request, why string) error {
	return apierrors.NewForbidden(r.Kind.GroupResource(), r.Name, errors.New(why))
}
