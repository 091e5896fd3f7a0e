package authz

import (
	"context"

	"github.com/keelson-dev/keelson/apiserver/authn"
)

// Attributes is what a request wants. Either Resource or Path is set.
type Attributes struct {
	User        authn.User
	Verb        string // such as get, list, create; for a Path the lower-case HTTP method
	Group       string // API group; empty for the core group
	Version     string
	Resource    string // plural name
	Subresource string
	Namespace   string // empty for cluster-scoped resources and for all namespaces
	Name        string // empty for collections
	Path        string // of a request that is about no resource, such as /healthz
}

// Decision is the answer. Reason is a sentence for the user or the audit log; it may be empty.
type Decision struct {
	Allowed bool
	Reason  string
}

// Authorizer decides. An error means that it could not: the request is refused.
type Authorizer interface {
	Authorize(ctx context.Context, a Attributes) (Decision, error)
}

// Func is a function as an Authorizer.
type Func func(ctx context.Context, a Attributes) (Decision, error)

// Authorize calls f.
func (f Func) Authorize(ctx context.Context, a Attributes) (Decision, error) { return f(ctx, a) }

// AllowAll lets everybody do everything.
func AllowAll() Authorizer {
	return Func(func(context.Context, Attributes) (Decision, error) {
		return Decision{Allowed: true, Reason: "everything is allowed"}, nil
	})
}

// Union asks each authorizer in turn and takes the first that allows. Errors are returned only when nobody allows.
func Union(all ...Authorizer) Authorizer {
	return Func(func(ctx context.Context, a Attributes) (Decision, error) {
		var last Decision
		var failed error
		for _, each := range all {
			d, err := each.Authorize(ctx, a)
			if err == nil && d.Allowed {
				return d, nil
			}
			if err != nil {
				failed = err
			} else if d.Reason != "" {
				last = d
			}
		}
		return last, failed
	})
}
