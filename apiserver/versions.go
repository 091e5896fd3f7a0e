package apiserver

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// convertAtOnce is how many objects one conversion gets at most: a webhook reads them in one body.
const convertAtOnce = 500

// version is an entry's object in another version than the stored one. An entry has a list of them, made as they are asked for.
type version struct {
	kind *kind.Kind
	obj  kind.Instance
	enc  client.Forms
	next *version
}

// as is the entry's object in k's version, nil when it has not been converted yet.
func (e *entry) as(k *kind.Kind) kind.Instance {
	if k.Hub == nil {
		return e.obj
	}
	for v := e.versions.Load(); v != nil; v = v.next {
		if v.kind == k {
			return v.obj
		}
	}
	return nil
}

// forms are the encodings of the entry's object in k's version; nil when it has not been converted yet.
func (e *entry) forms(k *kind.Kind) *client.Forms {
	if k.Hub == nil {
		return &e.enc
	}
	for v := e.versions.Load(); v != nil; v = v.next {
		if v.kind == k {
			return &v.enc
		}
	}
	return nil
}

// remember keeps the entry's object in k's version, and answers the one that is kept.
func (e *entry) remember(k *kind.Kind, obj kind.Instance) kind.Instance {
	for {
		if had := e.as(k); had != nil {
			return had
		}
		head := e.versions.Load()
		if e.versions.CompareAndSwap(head, &version{kind: k, obj: obj, next: head}) {
			return obj
		}
	}
}

// convert converts entries to the call's version, those that are not yet.
func (c *call) convert(ctx context.Context, entries []*entry) error {
	if c.kind.Hub == nil {
		return nil
	}
	var missing []*entry
	for _, e := range entries {
		if e.as(c.kind) == nil {
			missing = append(missing, e)
		}
	}
	for len(missing) > 0 {
		n := min(len(missing), convertAtOnce)
		objects := make([]kind.Instance, n)
		for i, e := range missing[:n] {
			objects[i] = e.obj
		}
		out, err := c.kind.FromStored(ctx, objects)
		if err != nil {
			return conversionError(ctx, err)
		}
		for i, e := range missing[:n] {
			if c.kind.Default != nil {
				c.kind.Default(out[i])
			}
			out[i].SetResourceVersion(e.obj.GetResourceVersion())
			e.remember(c.kind, out[i])
		}
		missing = missing[n:]
	}
	return nil
}

// object is one entry's object in the call's version.
func (c *call) form(ctx context.Context, e *entry) (kind.Instance, error) {
	if c.kind.Hub == nil {
		return e.obj, nil
	}
	if obj := e.as(c.kind); obj != nil {
		return obj, nil
	}
	if err := c.convert(ctx, []*entry{e}); err != nil {
		return nil, err
	}
	return e.as(c.kind), nil
}

// convertScope converts what a page may be made of: everything from a key on in the call's scope.
func (c *call) convertScope(ctx context.Context, v view, from string) error {
	if c.kind.Hub == nil {
		return nil
	}
	var entries []*entry
	v.ascend(c.cache.scope(c.req.Namespace), from, func(e *entry) bool {
		entries = append(entries, e)
		return true
	})
	return c.convert(ctx, entries)
}

// stored is an object of the call's version as it is stored.
func (c *call) stored(ctx context.Context, obj kind.Instance) (kind.Instance, error) {
	out, err := c.kind.ToStored(ctx, obj)
	if err != nil {
		return nil, conversionError(ctx, err)
	}
	return out, nil
}

func conversionError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return apierrors.NewInternalError(err)
}
