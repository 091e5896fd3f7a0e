package apiserver

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authz"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// The subresources that the pipeline itself serves.
const (
	subStatus   = "status"
	subScale    = "scale"
	subBinding  = "binding"
	subEviction = "eviction"
	subFinalize = "finalize"
)

// call is one request in the pipeline. It belongs to one goroutine.
type call struct {
	server   *Server
	cache    *cache
	kind     *kind.Kind // in the version of the request
	user     authn.User
	req      client.Request // a shallow copy; Object is still the caller's
	applied  bool           // the object is the outcome of a server-side apply, which has settled who manages its fields
	warnings []string       // of the last attempt
	sloppy   []error        // how a patch is written, where that is not an error by itself
	ignored  []string       // fields of a patch that do not exist, when the client wants a warning only

	guard  func(ctx context.Context, old *entry) (*beside, error) // decides for each attempt of a delete what else it writes, or refuses; nil: nothing
	beside *beside                                                // what the attempt's transaction writes beside the object; nil: nothing
}

// do carries any request but a watch through the pipeline.
func (s *Server) do(ctx context.Context, user authn.User, req *client.Request) (*client.Response, error) {
	for {
		c, err := s.enter(ctx, user, req, req.Verb)
		if err != nil {
			return nil, err
		}
		resp, err := c.route(ctx)
		if errors.Is(err, errRetired) {
			continue // to what the kind is now, or to 404
		}
		if err != nil {
			return nil, err
		}
		resp.Warnings = append(c.ignored, c.warnings...)
		if d := c.kind.Deprecation; d != "" {
			resp.Warnings = append([]string{d}, resp.Warnings...)
		}
		c.formsOf(resp)
		return resp, nil
	}
}

// formsOf finds the encodings of what was just written: it is in the cache, where watchers take them from.
func (c *call) formsOf(resp *client.Response) {
	if !c.req.WantForms || resp.Forms != nil || resp.Object == nil {
		return
	}
	e := c.cache.get(c.cache.key(resp.Object.GetNamespace(), resp.Object.GetName()))
	if e != nil && e.as(c.kind) == resp.Object {
		resp.Forms = e.forms(c.kind)
	}
}

// enter finds the kind, checks that the request makes sense, and authorizes it.
func (s *Server) enter(ctx context.Context, user authn.User, req *client.Request, verb client.Verb) (*call, error) {
	if err := s.Ready(ctx); err != nil {
		return nil, err
	}
	if req.Kind == nil {
		return nil, badRequest("the request names no kind")
	}
	now := s.served.Load()
	k, ok := now.kinds.Find(req.Kind)
	if !ok {
		return nil, apierrors.NewGenericServerResponse(404, string(verb), req.Kind.GroupResource(), req.Name,
			fmt.Sprintf("%s %s is not served here", req.Kind.APIVersion(), req.Kind.Name), 0, true)
	}
	c := &call{server: s, cache: now.cache(k), kind: k, user: user, req: *req}
	if err := c.address(verb); err != nil {
		return nil, err
	}
	if err := c.authorize(ctx, verb); err != nil {
		return nil, err
	}
	if err := c.checkOptions(verb); err != nil {
		return nil, err
	}
	return c, nil
}

// address settles which namespace and name the request is about.
func (c *call) address(verb client.Verb) error {
	collection := false
	switch verb {
	case client.List, client.Watch, client.DeleteCollection:
		collection = true
	case client.Create:
		if c.req.Object == nil {
			return badRequest("create %s: the request has no object", c.kind)
		}
		if c.req.Name == "" {
			c.req.Name = c.req.Object.GetName()
		}
		if c.req.Namespace == "" && c.kind.Namespaced {
			c.req.Namespace = c.req.Object.GetNamespace()
		}
	case client.Update:
		if c.req.Object == nil {
			return badRequest("update %s: the request has no object", c.kind)
		}
		if c.req.Object.GetName() == "" && c.req.Subresource != subScale {
			return badRequest("the name of the object (%s based on URL) was undeterminable: name must be provided", c.req.Name)
		}
	}
	if obj := c.req.Object; obj != nil && (verb == client.Create || verb == client.Update) {
		if ns := obj.GetNamespace(); ns != "" && ns != c.req.Namespace {
			return badRequest("the namespace of the object is %q and that of the request %q: they must be the same", ns, c.req.Namespace)
		}
		if name := obj.GetName(); name != "" && name != c.req.Name {
			return badRequest("the name of the object is %q and that of the request %q: they must be the same", name, c.req.Name)
		}
	}
	switch {
	case !c.kind.Namespaced && c.req.Namespace != "":
		return badRequest("%s belong to the whole cluster: the request may not have a namespace, it has %q", c.kind, c.req.Namespace)
	case c.kind.Namespaced && c.req.Namespace == "" && !collection:
		return badRequest("%s belong to a namespace: the request must have one", c.kind)
	case c.req.Name == "" && !collection && verb != client.Create:
		return badRequest("%s %s: a name is required", verb, c.kind)
	}
	return nil
}

// authorize asks whether the user may do this.
func (c *call) authorize(ctx context.Context, verb client.Verb) error {
	if c.server.authorizer == nil {
		return nil
	}
	name := c.req.Name
	if verb == client.Create && c.req.Subresource == "" {
		name = "" // the name of what does not exist yet grants nothing
	}
	if name == "" {
		name = c.onlyName(verb)
	}
	d, err := c.server.authorizer.Authorize(ctx, authz.Attributes{
		User: c.user, Verb: string(verb), Group: c.kind.Group, Version: c.kind.Version, Resource: c.kind.Plural,
		Subresource: c.req.Subresource, Namespace: c.req.Namespace, Name: name,
	})
	if err == nil && d.Allowed {
		return nil
	}
	resource := c.kind.Plural
	if c.req.Subresource != "" {
		resource += "/" + c.req.Subresource
	}
	where := "at the cluster scope"
	if c.req.Namespace != "" {
		where = fmt.Sprintf("in the namespace %q", c.req.Namespace)
	}
	why := fmt.Errorf("User %q cannot %s resource %q in API group %q %s", c.user.Name, verb, resource, c.kind.Group, where)
	if err != nil {
		why = fmt.Errorf("%w: %w", why, err)
	} else if d.Reason != "" {
		why = fmt.Errorf("%w: %s", why, d.Reason)
	}
	return apierrors.NewForbidden(c.kind.GroupResource(), c.req.Name, why)
}

// onlyName is the name that a collection's field selector restricts the request to, if it does: with it, a rule that
// names objects allows to list and watch them, as upstream.
func (c *call) onlyName(verb client.Verb) string {
	if text := c.req.List.FieldSelector; text != "" && (verb == client.List || verb == client.Watch || verb == client.DeleteCollection) {
		if parsed, err := fields.ParseSelector(text); err == nil {
			name, _ := parsed.RequiresExactMatch("metadata.name")
			return name
		}
	}
	return ""
}

// route hands the request to what serves it.
func (c *call) route(ctx context.Context) (*client.Response, error) {
	verb := c.req.Verb
	switch c.req.Subresource {
	case "":
		switch verb {
		case client.Get:
			return c.get(ctx)
		case client.List:
			return c.list(ctx)
		case client.Create:
			return c.create(ctx)
		case client.Update:
			return c.update(ctx)
		case client.Patch:
			return c.patch(ctx)
		case client.Delete:
			return c.delete(ctx)
		case client.DeleteCollection:
			return c.deleteCollection(ctx)
		}
	case subStatus:
		if !c.kind.Status {
			return nil, c.noSubresource()
		}
		switch verb {
		case client.Get:
			return c.get(ctx)
		case client.Update:
			return c.update(ctx)
		case client.Patch:
			return c.patch(ctx)
		}
	case subScale:
		if c.kind.Scale == nil {
			return nil, c.noSubresource()
		}
		switch verb {
		case client.Get:
			return c.getScale(ctx)
		case client.Update:
			return c.updateScale(ctx)
		case client.Patch:
			return c.patchScale(ctx)
		}
	case subBinding, subEviction:
		if !c.kind.Is(kind.Pod.Kind()) {
			return nil, c.noSubresource()
		}
		if verb == client.Create && c.req.Subresource == subBinding {
			return c.bind(ctx)
		}
		if verb == client.Create {
			return c.evict(ctx)
		}
	case subFinalize:
		if !c.kind.Is(kind.Namespace.Kind()) {
			return nil, c.noSubresource()
		}
		if verb == client.Update {
			return c.finalize(ctx)
		}
	default:
		if _, ok := c.kind.Parts[c.req.Subresource]; !ok {
			return nil, c.noSubresource()
		}
		switch verb {
		case client.Get:
			return c.get(ctx)
		case client.Update:
			return c.update(ctx)
		case client.Patch:
			return c.patch(ctx)
		}
	}
	return nil, apierrors.NewMethodNotSupported(c.kind.GroupResource(), string(verb))
}

func (c *call) noSubresource() error {
	return apierrors.NewGenericServerResponse(404, string(c.req.Verb), c.kind.GroupResource(), c.req.Name,
		fmt.Sprintf("%s have no subresource %q here", c.kind, c.req.Subresource), 0, true)
}

// object is a copy of the request's object, which must be of the kind's Go type.
func (c *call) object() (kind.Instance, error) {
	want := reflect.TypeOf(c.kind.New())
	if got := reflect.TypeOf(c.req.Object); got != want {
		return nil, badRequest("%s %s: the object is a %v, must be a %v", c.req.Verb, c.kind, got, want)
	}
	if gvk := c.req.Object.GetObjectKind().GroupVersionKind(); gvk.Kind != "" && gvk != c.kind.GroupVersionKind() {
		return nil, badRequest("%s %s: the object says that it is a %s", c.req.Verb, c.kind, gvk)
	}
	obj := c.kind.Copy(c.req.Object)
	c.kind.Stamp(obj)
	return obj, nil
}

// current answers the newest state of the named object, in the version of the request.
func (c *call) current(ctx context.Context) (*entry, error) {
	if _, err := c.server.feed.current(ctx); err != nil {
		return nil, err
	}
	if c.cache.retired.Load() {
		return nil, errRetired
	}
	e := c.cache.get(c.cache.key(c.req.Namespace, c.req.Name))
	if e == nil {
		return nil, notFound(c.kind, c.req.Name)
	}
	obj, err := c.form(ctx, e)
	if err != nil || obj == e.obj {
		return e, err
	}
	return &entry{key: e.key, obj: obj, rev: e.rev, raw: e.raw, stored: e}, nil
}

// stream authorizes a request that goes to a node agent.
func (l *local) stream(ctx context.Context, verb client.Verb, subresource, namespace, pod string) error {
	req := client.Request{Verb: client.Get, Kind: kind.Pod.Kind(), Subresource: subresource, Namespace: namespace, Name: pod}
	c, err := l.server.enter(ctx, l.user, &req, client.Get)
	if err != nil {
		return err
	}
	if verb != client.Get {
		if err := c.authorize(ctx, verb); err != nil {
			return err
		}
	}
	if l.server.nodes == nil {
		return unavailable("this server reaches no node agents: set apiserver.Config.Nodes")
	}
	return nil
}

// The Go types of subresources that are no kinds of their own.
var (
	_ kind.Instance = (*autoscalingv1.Scale)(nil)
	_ kind.Instance = (*corev1.Binding)(nil)
)
