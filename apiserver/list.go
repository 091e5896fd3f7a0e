package apiserver

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/store"
)

// storePage is how many keys are read from the store at once when a selector leaves out some.
const storePage = 500

// get answers the named object, at a version that fits the request.
func (c *call) get(ctx context.Context) (*client.Response, error) {
	if err := c.reach(ctx, c.req.List.ResourceVersion); err != nil {
		return nil, err
	}
	e := c.cache.get(c.cache.key(c.req.Namespace, c.req.Name))
	if e == nil {
		return nil, notFound(c.kind, c.req.Name)
	}
	obj, err := c.form(ctx, e)
	if err != nil {
		return nil, err
	}
	return &client.Response{Object: obj, Revision: e.rev, Forms: e.forms(c.kind)}, nil
}

// add puts an object, in the call's version, on a page.
func (c *call) add(resp *client.Response, e *entry, obj kind.Instance) {
	resp.Items = append(resp.Items, obj)
	if c.req.WantForms {
		resp.ItemForms = append(resp.ItemForms, e.forms(c.kind))
	}
}

// matching are the entries of a snapshot that a selector selects; they have been converted to the call's version.
func (c *call) matching(v view, sel *selector) []*entry {
	var out []*entry
	if c.req.Namespace == "" && sel.everything() {
		out = make([]*entry, 0, v.tree.Len())
	}
	v.ascend(c.cache.scope(c.req.Namespace), "", func(e *entry) bool {
		c.cache.verify(e)
		if sel.matches(e.as(c.kind)) {
			out = append(out, e)
		}
		return true
	})
	return out
}

// reach waits until the caches are as new as a resourceVersion asks: empty is now, 0 is any, others are not older than.
func (c *call) reach(ctx context.Context, resourceVersion string) error {
	switch resourceVersion {
	case "":
		if _, err := c.server.feed.current(ctx); err != nil {
			return err
		}
		return c.alive()
	case "0":
		return c.alive()
	}
	revision, err := client.ParseRevision(resourceVersion)
	if err != nil {
		return badRequest("%v", err)
	}
	return c.reachRevision(ctx, revision)
}

// alive fails when the kind was removed or replaced since the request came.
func (c *call) alive() error {
	if c.cache.retired.Load() {
		return errRetired
	}
	return nil
}

func (c *call) reachRevision(ctx context.Context, revision int64) error {
	f := c.server.feed
	if f.position() >= revision {
		return c.alive()
	}
	newest, err := c.server.store.Revision(ctx)
	if err != nil {
		return storeError(err)
	}
	if revision <= newest {
		if err := f.wait(ctx, revision); err != nil {
			return err
		}
		return c.alive()
	}
	return tooNew(revision, newest) // the store's revision is the newest of all members: nobody has seen a later one
}

// list answers a page of the collection.
func (c *call) list(ctx context.Context) (*client.Response, error) {
	o := &c.req.List
	if err := checkListOptions(o, false); err != nil {
		return nil, err
	}
	sel, err := c.selector()
	if err != nil {
		return nil, err
	}
	anyPage := o.ResourceVersion == "0" && o.Continue == ""
	if anyPage {
		o.Limit = 0 // upstream's cache answers whole lists, and informers take a page here for a server without a cache
	}
	switch {
	case o.Continue != "":
		revision, from, err := c.parseContinue(o.Continue)
		if err != nil {
			return nil, err
		}
		if revision == newestRevision {
			break
		}
		return c.page(ctx, sel, revision, from)
	case o.ResourceVersionMatch == metav1.ResourceVersionMatchExact,
		o.ResourceVersionMatch == "" && o.Limit > 0 && o.ResourceVersion != "" && !anyPage: // the older way to ask for exactly
		revision, err := client.ParseRevision(o.ResourceVersion)
		if err != nil {
			return nil, badRequest("%v", err)
		}
		return c.page(ctx, sel, revision, "")
	}
	from := ""
	if o.Continue != "" {
		_, from, _ = c.parseContinue(o.Continue) // was parsed above
	}
	if err := c.reach(ctx, o.ResourceVersion); err != nil {
		return nil, err
	}
	v := c.cache.view()
	if err := c.convertScope(ctx, v, from); err != nil {
		return nil, err
	}
	return c.cached(v, sel, v.revision, from), nil
}

// page answers from the given key on at exactly one revision: from the cache when nothing of the kind happened since, else from the
// store.
func (c *call) page(ctx context.Context, sel *selector, revision int64, from string) (*client.Response, error) {
	if err := c.reachRevision(ctx, revision); err != nil {
		return nil, err
	}
	v := c.cache.view()
	if v.lastChange <= revision {
		if err := c.convertScope(ctx, v, from); err != nil {
			return nil, err
		}
		return c.cached(v, sel, revision, from), nil
	}
	return c.fromStore(ctx, v, sel, revision, from)
}

// cached makes a page of a snapshot, whose objects have been converted to the call's version.
func (c *call) cached(v view, sel *selector, revision int64, from string) *client.Response {
	resp := &client.Response{Revision: revision}
	limit, all := int(c.req.List.Limit), sel.everything()
	if all && c.req.Namespace == "" && limit == 0 {
		resp.Items = make([]kind.Instance, 0, v.tree.Len())
		if c.req.WantForms {
			resp.ItemForms = make([]*client.Forms, 0, v.tree.Len())
		}
	}
	var last string
	var rest int64
	v.ascend(c.cache.scope(c.req.Namespace), from, func(e *entry) bool {
		c.cache.verify(e)
		obj := e.as(c.kind)
		switch {
		case !sel.matches(obj):
		case limit == 0 || len(resp.Items) < limit:
			c.add(resp, e, obj)
			last = e.key
		default:
			rest++
			return all // counting the rest is exact only without selectors
		}
		return true
	})
	if rest > 0 {
		resp.Continue = c.formatContinue(revision, last)
		if all {
			resp.Remaining = &rest
		}
	}
	return resp
}

// fromStore makes a page from the store. Objects that are still the same are taken from the snapshot.
func (c *call) fromStore(ctx context.Context, v view, sel *selector, revision int64, from string) (*client.Response, error) {
	resp := &client.Response{Revision: revision}
	scope := c.cache.scope(c.req.Namespace)
	limit, all := int(c.req.List.Limit), sel.everything()
	next := max(scope, from)
	var last string
	for {
		res, err := c.server.store.Range(ctx, store.RangeRequest{
			Key: []byte(next), End: store.PrefixEnd([]byte(scope)), Limit: storePage, Revision: revision,
		})
		if err != nil {
			return nil, c.listError(err, from)
		}
		for i := range res.KVs {
			kv := &res.KVs[i]
			e, ok := v.tree.Get(&entry{key: string(kv.Key)})
			if !ok || e.rev != kv.ModRevision {
				if e = c.cache.decode(kv); e == nil {
					continue
				}
			}
			obj, err := c.form(ctx, e)
			if err != nil {
				return nil, err
			}
			if !sel.matches(obj) {
				continue
			}
			if limit > 0 && len(resp.Items) == limit {
				resp.Continue = c.formatContinue(revision, last)
				if all {
					rest := res.Count - int64(i)
					resp.Remaining = &rest
				}
				return resp, nil
			}
			c.add(resp, e, obj)
			last = e.key
		}
		if !res.More {
			return resp, nil
		}
		next = string(res.KVs[len(res.KVs)-1].Key) + "\x00"
	}
}

// checkListOptions refuses combinations of options that contradict each other, with the reasons kube-apiserver has.
func checkListOptions(o *metav1.ListOptions, watching bool) error {
	var errs field.ErrorList
	match := field.NewPath("resourceVersionMatch")
	forbid := func(at *field.Path, why string) { errs = append(errs, field.Forbidden(at, why)) }
	initial := o.SendInitialEvents != nil
	switch o.ResourceVersionMatch {
	case "":
		if watching && initial {
			forbid(match, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
		}
	case metav1.ResourceVersionMatchExact, metav1.ResourceVersionMatchNotOlderThan:
		exact := o.ResourceVersionMatch == metav1.ResourceVersionMatchExact
		switch {
		case watching && !initial:
			forbid(match, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
		case watching && exact:
			errs = append(errs, field.NotSupported(match, o.ResourceVersionMatch, []metav1.ResourceVersionMatch{metav1.ResourceVersionMatchNotOlderThan}))
		case !watching && o.Continue != "":
			forbid(match, "resourceVersionMatch is forbidden when continue is provided")
		case !watching && o.ResourceVersion == "":
			forbid(match, "resourceVersionMatch is forbidden unless resourceVersion is provided")
		case exact && o.ResourceVersion == "0":
			forbid(match, "resourceVersionMatch Exact is forbidden for resourceVersion 0")
		}
	default:
		errs = append(errs, field.NotSupported(match, o.ResourceVersionMatch,
			[]metav1.ResourceVersionMatch{metav1.ResourceVersionMatchExact, metav1.ResourceVersionMatchNotOlderThan}))
	}
	if !watching && initial {
		forbid(field.NewPath("sendInitialEvents"), "sendInitialEvents is forbidden for list")
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "ListOptions"}, "", errs)
	}
	switch {
	case o.Limit < 0:
		return badRequest("limit is %d, must not be negative", o.Limit)
	case !watching && o.Continue != "" && o.ResourceVersion != "" && o.ResourceVersion != "0":
		return badRequest("specifying resource version is not allowed when using continue")
	}
	return nil
}
