package wire

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authz"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/fieldmanager"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/nodeproxy"
	"github.com/keelson-dev/keelson/apiserver/table"
)

func zapPath(r *http.Request) zap.Field { return zap.String("request", r.Method+" "+r.URL.Path) }
func zapError(err error) zap.Field      { return zap.Error(err) }

// call is one request for a resource on its way through.
type call struct {
	h    *Handler
	w    *response
	r    *http.Request
	user authn.User
	path resourcePath
	kind *kind.Kind // of the resource
	sent *kind.Kind // of what is sent: the same, or a subresource's own
	q    url.Values
	req  *client.Request
}

// resource answers a request for a resource.
func (h *Handler) resource(w *response, r *http.Request, user authn.User, p resourcePath) error {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return apierrors.NewBadRequest("query: " + err.Error())
	}
	if rev, ok := h.reviews[schema.GroupResource{Group: p.group, Resource: p.resource}]; ok && p.version == "v1" {
		return h.review(w, r, user, p, rev)
	}
	k, ok := h.served.Load().kinds.ByResource(schema.GroupVersionResource{Group: p.group, Version: p.version, Resource: p.resource})
	if !ok || p.namespace != "" && !k.Namespaced || p.name != "" && k.Namespaced && p.namespace == "" {
		return notFound(r)
	}
	if p.subresource != "" && !slices.Contains(subresources(k), p.subresource) {
		return notFound(r)
	}
	c := &call{h: h, w: w, r: r, user: user, path: p, kind: k, sent: k.Sent(p.subresource), q: q, req: &client.Request{
		Kind: k, Subresource: p.subresource, Namespace: p.namespace, Name: p.name,
	}}
	if k.Is(kind.Pod.Kind()) && nodeproxy.Serves(p.subresource) {
		return c.connect()
	}
	return c.serve()
}

// subresources are those that a kind declares, in one list.
func subresources(k *kind.Kind) []string { return k.SubresourceNames() }

// methods says what a subresource is used for.
func methods(subresource string) []string { return kind.SubresourceMethods(subresource) }

func (c *call) serve() error {
	if c.path.watch {
		return c.watchPath()
	}
	if c.path.subresource != "" && !slices.Contains(methods(c.path.subresource), c.r.Method) {
		return methodNotAllowed(c.r)
	}
	collection := c.path.name == ""
	if c.path.subresource == "" && !c.kind.Serves(c.verb(collection)) {
		return methodNotAllowed(c.r)
	}
	// Without a namespace the objects of a namespaced kind can be listed, and nothing else.
	everywhere := collection && c.kind.Namespaced && c.path.namespace == ""
	switch {
	case c.r.Method == http.MethodGet || c.r.Method == http.MethodHead:
		if !collection {
			return c.get()
		}
		return c.list()
	case everywhere:
		return methodNotAllowed(c.r)
	case c.r.Method == http.MethodPost && (collection || c.path.subresource != ""):
		return c.create()
	case c.r.Method == http.MethodPut && !collection:
		return c.update()
	case c.r.Method == http.MethodPatch && !collection:
		return c.patch()
	case c.r.Method == http.MethodDelete && c.path.subresource == "":
		if collection {
			return c.deleteCollection()
		}
		return c.delete()
	}
	return methodNotAllowed(c.r)
}

// verb is what the request wants of the objects themselves.
func (c *call) verb(collection bool) string {
	switch c.r.Method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if collection {
			return "deletecollection"
		}
		return "delete"
	}
	switch watch, _ := strconv.ParseBool(c.q.Get("watch")); {
	case !collection:
		return "get"
	case watch:
		return "watch"
	}
	return "list"
}

func (c *call) client() client.Client { return c.h.cfg.Client(c.user) }

// negotiate chooses the answer's form before anything is done, so that a 406 has no effects.
func (c *call) negotiate() (form, error) {
	f, err := negotiate(c.r, want{protobuf: c.sent.Protobuf(), yaml: true, shapes: true, list: c.req.Verb == client.List})
	c.req.WantForms = true
	if err == nil && f.as == asTable {
		if _, bad := table.ParseInclude(c.q.Get("includeObject")); bad != nil {
			err = apierrors.NewBadRequest("Unable to convert to Table as requested: " + bad.Error())
		}
	}
	return f, err
}

func (c *call) get() error {
	f, err := c.negotiate()
	if err != nil {
		return err
	}
	if c.req.List.ResourceVersion, err = revision(c.q.Get("resourceVersion")); err != nil {
		return err
	}
	c.req.Verb = client.Get
	return c.answer(f, http.StatusOK)
}

func (c *call) list() error {
	opts, err := listOptions(c.q)
	if err != nil {
		return err
	}
	c.req.List = opts
	if opts.Watch {
		return c.watch()
	}
	c.req.Verb = client.List
	f, err := c.negotiate()
	if err != nil {
		return err
	}
	resp, err := c.client().Do(c.r.Context(), c.req)
	if err != nil {
		return err
	}
	warn(c.w, resp.Warnings)
	return c.h.writeList(c.w, c.r, f, c.kind, resp)
}

// watchPath answers the older form of a watch, whose path may name one object.
func (c *call) watchPath() error {
	if c.path.subresource != "" {
		return notFound(c.r)
	}
	if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		return methodNotAllowed(c.r)
	}
	var err error
	c.q.Set("watch", "true")
	if c.req.List, err = listOptions(c.q); err != nil {
		return err
	}
	if name := c.path.name; name != "" {
		asked, err := fields.ParseSelector(c.req.List.FieldSelector)
		if err != nil {
			return apierrors.NewBadRequest("fieldSelector: " + err.Error())
		}
		if chosen, ok := asked.RequiresExactMatch("metadata.name"); !asked.Empty() && (!ok || chosen != name) {
			return apierrors.NewBadRequest("fieldSelector metadata.name doesn't match requested name")
		}
		if asked.Empty() {
			c.req.List.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
		}
		c.req.Name = ""
	}
	return c.watch()
}

// writeOptions reads the parameters that all writes share. name is that of upstream's type for them.
func (c *call) writeOptions(name string) error {
	o := metav1.PatchOptions{DryRun: c.q["dryRun"], FieldManager: c.q.Get("fieldManager"), FieldValidation: c.q.Get("fieldValidation")}
	errs := validation.ValidateUpdateOptions(&metav1.UpdateOptions{DryRun: o.DryRun, FieldManager: o.FieldManager, FieldValidation: o.FieldValidation})
	if name == "PatchOptions" {
		if force := c.q.Get("force"); force != "" {
			o.Force = new(force != "false" && force != "0") // as upstream reads it
			c.req.Force = *o.Force
		}
		errs = validation.ValidatePatchOptions(&o, c.req.PatchType)
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: name}, "", errs)
	}
	c.req.DryRun = len(o.DryRun) > 0
	if c.req.FieldValidation = o.FieldValidation; c.req.FieldValidation == "" {
		c.req.FieldValidation = validateWarn
	}
	if c.req.FieldManager = o.FieldManager; c.req.FieldManager == "" {
		c.req.FieldManager = fieldmanager.Name(c.r.UserAgent())
	}
	return nil
}

// authorized sets the verb and asks whether the user may do this, so that a body is read and decoded only for those
// who may. The client that carries the request asks again, for what it then does.
func (c *call) authorized(verb client.Verb) error {
	c.req.Verb = verb
	if verb == client.DeleteCollection && c.q.Get("fieldSelector") != "" {
		return nil // which may name the one object that the user may delete: the client reads it, and there is no body worth speaking of
	}
	return c.h.allowed(c.r.Context(), authz.Attributes{
		User: c.user, Verb: string(verb), Group: c.kind.Group, Version: c.kind.Version, Resource: c.kind.Plural,
		Subresource: c.path.subresource, Namespace: c.path.namespace, Name: c.path.name,
	})
}

// body decodes what is written, and checks that it agrees with the path.
func (c *call) body() error {
	obj, warnings, err := c.h.goTypes.decodeObject(c.w, c.r, c.sent, c.req.FieldValidation)
	if err != nil {
		return err
	}
	warn(c.w, warnings)
	switch ns := obj.GetNamespace(); {
	case ns == "" && c.path.namespace != "":
		obj.SetNamespace(c.path.namespace)
	case ns != c.path.namespace:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	if c.path.name != "" {
		switch name := obj.GetName(); {
		case name == "" && (c.path.subresource != "" || c.req.Verb == client.Update && obj.GetGenerateName() == ""):
			obj.SetName(c.path.name)
		case name != c.path.name:
			return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", name, c.path.name))
		}
	}
	c.req.Object = obj
	return nil
}

func (c *call) create() error {
	f, err := c.negotiate()
	if err != nil {
		return err
	}
	if err := c.writeOptions("CreateOptions"); err != nil {
		return err
	}
	if err := c.authorized(client.Create); err != nil {
		return err
	}
	if err := c.body(); err != nil {
		return err
	}
	return c.answer(f, http.StatusCreated)
}

func (c *call) update() error {
	f, err := c.negotiate()
	if err != nil {
		return err
	}
	if err := c.writeOptions("UpdateOptions"); err != nil {
		return err
	}
	if err := c.authorized(client.Update); err != nil {
		return err
	}
	if err := c.body(); err != nil {
		return err
	}
	return c.answer(f, http.StatusOK)
}

func (c *call) patch() error {
	f, err := c.negotiate()
	if err != nil {
		return err
	}
	if err := c.authorized(client.Patch); err != nil {
		return err
	}
	media, err := bodyMedia(c.r)
	if err != nil {
		return err
	}
	can := []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.ApplyPatchType)}
	if c.kind.Protobuf() {
		can = append(can, string(types.StrategicMergePatchType))
	}
	if c.r.Header.Get("Content-Type") == "" || !slices.Contains(can, media) {
		return unsupportedMedia(can...)
	}
	c.req.PatchType = types.PatchType(media)
	if err := c.writeOptions("PatchOptions"); err != nil {
		return err
	}
	if c.req.PatchData, err = readBody(c.w, c.r); err != nil {
		return err
	}
	check := checkJSON
	if c.req.PatchType == types.ApplyPatchType {
		check = checkYAML
	}
	if err := check(c.req.PatchData); err != nil {
		return apierrors.NewBadRequest("patch: " + err.Error())
	}
	return c.answer(f, http.StatusOK)
}

// answer carries the request and writes the object that comes back.
func (c *call) answer(f form, code int) error {
	resp, err := c.client().Do(c.r.Context(), c.req)
	if err != nil {
		return err
	}
	warn(c.w, resp.Warnings)
	if resp.Created {
		code = http.StatusCreated
	}
	if resp.Object == nil || c.path.subresource == "binding" || c.path.subresource == "eviction" {
		return c.h.writeStatus(c.w, c.r, code, metav1.Status{Status: metav1.StatusSuccess, Code: int32(code)})
	}
	k := c.sent
	if c.sent != c.kind && reflect.TypeOf(resp.Object) == reflect.TypeOf(c.kind.New()) {
		k = c.kind
	}
	return c.h.writeObject(c.w, c.r, code, f, k, resp.Object, resp.Forms)
}

func (c *call) deleteOptions(verb client.Verb) error {
	if err := c.writeOptions("DeleteOptions"); err != nil {
		return err
	}
	if err := c.authorized(verb); err != nil {
		return err
	}
	opts, err := decodeDeleteOptions(c.w, c.r)
	if err != nil {
		return err
	}
	c.req.Delete = opts
	c.req.DryRun = c.req.DryRun || len(opts.DryRun) > 0
	return nil
}

// delete answers with a Status when the object is gone, and with the object while it is terminating.
func (c *call) delete() error {
	f, err := c.negotiate()
	if err != nil {
		return err
	}
	if err := c.deleteOptions(client.Delete); err != nil {
		return err
	}
	resp, err := c.client().Do(c.r.Context(), c.req)
	if err != nil {
		return err
	}
	warn(c.w, resp.Warnings)
	if !resp.Deleted && resp.Object != nil {
		return c.h.writeObject(c.w, c.r, http.StatusOK, f, c.kind, resp.Object, resp.Forms)
	}
	details := &metav1.StatusDetails{Name: c.path.name, Group: c.kind.Group, Kind: c.kind.Plural}
	if resp.Object != nil {
		details.UID = resp.Object.GetUID()
	}
	return c.h.writeStatus(c.w, c.r, http.StatusOK, metav1.Status{Status: metav1.StatusSuccess, Details: details})
}

func (c *call) deleteCollection() error {
	f, err := c.negotiate()
	if err != nil {
		return err
	}
	if err := c.deleteOptions(client.DeleteCollection); err != nil {
		return err
	}
	q := url.Values{}
	for _, name := range []string{"labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "resourceVersionMatch", "timeoutSeconds"} {
		if v, ok := c.q[name]; ok {
			q[name] = v
		}
	}
	if c.req.List, err = listOptions(q); err != nil {
		return err
	}
	resp, err := c.client().Do(c.r.Context(), c.req)
	if err != nil {
		return err
	}
	warn(c.w, resp.Warnings)
	if resp.Items != nil {
		return c.h.writeList(c.w, c.r, f, c.kind, resp)
	}
	return c.h.writeStatus(c.w, c.r, http.StatusOK, metav1.Status{
		Status: metav1.StatusSuccess, Details: &metav1.StatusDetails{Group: c.kind.Group, Kind: c.kind.Plural},
	})
}
