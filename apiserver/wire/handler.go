package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authz"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/nodeproxy"
	"github.com/keelson-dev/keelson/apiserver/openapi"
)

// Config is what a front needs. Kinds and Client are required.
type Config struct {
	Kinds  *kind.Set                           // what is served, until SetKinds
	Client func(user authn.User) client.Client // carries a user's requests; called once per request

	Authenticator authn.Authenticator // nil: everybody is anonymous
	Authorizer    authz.Authorizer    // nil: everything that is asked here is allowed

	// AllowAnonymous lets requests without credentials reach resources and discovery, as system:anonymous. False
	// refuses them with 401, except on the paths of health and version.
	AllowAnonymous bool

	Nodes   *nodeproxy.Proxy // reaches node agents for log, exec, attach and portforward; nil: those are not found
	Checks  []Check          // the parts of /healthz, /livez and /readyz beside ping
	Version string           // the Kubernetes version to claim, such as v1.37.2; empty: DefaultVersion

	// FormBytes bounds the encoded objects that are kept for other clients that want the same; 0 means DefaultFormBytes, a
	// negative number keeps none.
	FormBytes int64

	Logger *zap.Logger // nil: none
}

// DefaultVersion is the level of the Kubernetes API that is spoken.
const DefaultVersion = "v1.37.2"

// Handler serves the API. It is safe for concurrent use.
type Handler struct {
	cfg     Config
	log     *zap.Logger
	forms   *forms
	members *members
	buffers buffers
	goTypes goTypes
	version versionInfo
	served  atomic.Pointer[served]
	reviews map[schema.GroupResource]review
}

// New checks the configuration and makes a front.
func New(cfg Config) (*Handler, error) {
	if cfg.Kinds == nil || cfg.Client == nil {
		return nil, errors.New("wire: Config.Kinds and Config.Client are required")
	}
	if cfg.Version == "" {
		cfg.Version = DefaultVersion
	}
	h := &Handler{cfg: cfg, log: cfg.Logger, reviews: reviews()}
	if h.log == nil {
		h.log = zap.NewNop()
	}
	if cfg.Authorizer == nil {
		h.cfg.Authorizer = authz.AllowAll()
	}
	version, err := versionOf(cfg.Version)
	if err != nil {
		return nil, fmt.Errorf("wire: Config.Version: %w", err)
	}
	h.version = version
	for _, c := range cfg.Checks {
		if c.Name == "" || strings.ContainsAny(c.Name, "/?# ") || c.Run == nil {
			return nil, fmt.Errorf("wire: Config.Checks: %q: a check needs a name that fits into a path, and a function", c.Name)
		}
	}
	if cfg.FormBytes == 0 {
		cfg.FormBytes = DefaultFormBytes
	}
	h.forms = newForms(cfg.FormBytes)
	h.members = newMembers(cfg.FormBytes / 4)
	asked, err := reviewKinds(h.reviews)
	if err != nil {
		return nil, err
	}
	h.serveKinds(cfg.Kinds, openapi.New(cfg.Kinds, cfg.Version, asked...))
	return h, nil
}

// served is what follows from the kinds. It is immutable.
type served struct {
	kinds  *kind.Set
	groups []group
	docs   *openapi.Documents

	core, named func() (*aggregated, error) // discovery in one answer: of the core group, and of those with names
}

// SetKinds makes the front serve other kinds from now on. Requests that are under way keep what they found. Calls must not overlap.
func (h *Handler) SetKinds(kinds *kind.Set) { h.serveKinds(kinds, h.served.Load().docs.Follow(kinds)) }

func (h *Handler) serveKinds(kinds *kind.Set, docs *openapi.Documents) {
	groups := groupsOf(kinds.All(), h.reviews)
	named := slices.IndexFunc(groups, func(g group) bool { return g.name != "" })
	if named < 0 {
		named = len(groups)
	}
	h.served.Store(&served{kinds: kinds, groups: groups, docs: docs, core: newAggregated(groups[:named]), named: newAggregated(groups[named:])})
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rw := &response{ResponseWriter: w}
	defer h.recover(rw, r)
	limitBody(rw, r)
	identified(rw, r)
	if err := h.serve(rw, r); err != nil {
		h.fail(rw, r, err)
	}
}

// response remembers whether an answer was begun, so that a late failure does not write a second one into it.
type response struct {
	http.ResponseWriter
	begun bool
}

func (w *response) WriteHeader(code int) {
	if code >= 200 || code == http.StatusSwitchingProtocols {
		w.begun = true
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *response) Write(b []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (h *Handler) recover(w *response, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v) // net/http's own way to end a connection
	}
	h.log.Error("panic in a request", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
	if w.begun {
		panic(http.ErrAbortHandler) // the client must not take half an answer for a whole one
	}
	h.fail(w, r, apierrors.NewInternalError(fmt.Errorf("this request made the server panic: %v", v)))
}

// serve finds out who asks and for what. An error means that nothing was written yet.
func (h *Handler) serve(w *response, r *http.Request) error {
	if size := headerBytes(r.Header); size > maxHeader {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusRequestHeaderFieldsTooLarge, Reason: metav1.StatusReasonBadRequest,
			Message: fmt.Sprintf("the request's headers have %d bytes, at most %d are read", size, maxHeader),
		}}
	}
	segments, err := split(r.URL)
	if err != nil {
		return err
	}
	public := isPublic(segments)
	user, err := h.identify(r, public)
	if err != nil {
		return err
	}
	user, err = h.impersonate(r, user)
	if err != nil {
		return err
	}
	if t, ok := parseResource(segments); ok {
		return h.resource(w, r, user, t)
	}
	path := r.URL.Path
	if path == "" {
		path = "/" // an authorizer would take an empty one for a resource's
	}
	if err := h.allowed(r.Context(), authz.Attributes{User: user, Verb: strings.ToLower(r.Method), Path: path}); err != nil {
		return err
	}
	return h.nonResource(w, r, segments)
}

const maxHeader = 128 << 10

func headerBytes(h http.Header) int {
	n := 0
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// isPublic tells the paths that requests without credentials may reach.
func isPublic(segments []string) bool {
	if len(segments) == 0 {
		return false
	}
	switch segments[0] {
	case "healthz", "livez", "readyz":
		return true
	case "version":
		return len(segments) == 1
	}
	return false
}

func (h *Handler) identify(r *http.Request, public bool) (authn.User, error) {
	if h.cfg.Authenticator != nil {
		user, ok, err := h.cfg.Authenticator.Authenticate(r)
		if err != nil {
			h.log.Debug("bad credentials", zap.String("path", r.URL.Path), zap.Error(err))
			return user, apierrors.NewUnauthorized("Unauthorized")
		}
		if ok {
			return user, nil
		}
	}
	if public || h.cfg.AllowAnonymous {
		return authn.Anonymous(), nil
	}
	return authn.User{}, apierrors.NewUnauthorized("Unauthorized")
}

// impersonate is the user that the request wants to act as, if it says so and its sender may.
func (h *Handler) impersonate(r *http.Request, user authn.User) (authn.User, error) {
	name := r.Header.Get("Impersonate-User")
	groups, uid := r.Header.Values("Impersonate-Group"), r.Header.Get("Impersonate-Uid")
	extra := map[string][]string{}
	for key, values := range r.Header {
		if k, ok := strings.CutPrefix(key, "Impersonate-Extra-"); ok {
			extra[strings.ToLower(k)] = values
		}
	}
	if name == "" {
		if len(groups) > 0 || uid != "" || len(extra) > 0 {
			return user, apierrors.NewBadRequest("Impersonate-User is required to impersonate groups, a uid or extra values")
		}
		return user, nil
	}
	ask := func(group, resource, subresource, name string) error {
		return h.allowed(r.Context(), authz.Attributes{User: user, Verb: "impersonate", Group: group, Resource: resource, Subresource: subresource, Name: name})
	}
	if err := h.allowed(r.Context(), impersonating(user, name)); err != nil {
		return user, err
	}
	for _, g := range groups {
		if err := ask("", "groups", "", g); err != nil {
			return user, err
		}
	}
	if uid != "" {
		if err := ask("authentication.k8s.io", "uids", "", uid); err != nil {
			return user, err
		}
	}
	for key, values := range extra {
		for _, v := range values {
			if err := ask("authentication.k8s.io", "userextras", key, v); err != nil {
				return user, err
			}
		}
	}
	if name == authn.UserAnonymous && len(groups) == 0 {
		groups = []string{authn.GroupUnauthenticated}
	}
	return authn.Authenticated(authn.User{Name: name, UID: uid, Groups: slices.Clone(groups), Extra: extra}), nil
}

// impersonating is the permission to act as a user; a service account is a resource of its namespace, as upstream.
func impersonating(user authn.User, name string) authz.Attributes {
	a := authz.Attributes{User: user, Verb: "impersonate", Resource: "users", Name: name}
	if account, ok := strings.CutPrefix(name, "system:serviceaccount:"); ok {
		if namespace, account, ok := strings.Cut(account, ":"); ok && namespace != "" && account != "" && !strings.Contains(account, ":") {
			a.Resource, a.Namespace, a.Name = "serviceaccounts", namespace, account
		}
	}
	return a
}

// allowed asks the Authorizer; a refusal is a 403 status.
func (h *Handler) allowed(ctx context.Context, a authz.Attributes) error {
	d, err := h.cfg.Authorizer.Authorize(ctx, a)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("authorization: %w", err))
	}
	if d.Allowed {
		return nil
	}
	if a.Resource == "" {
		return forbidden(schema.GroupResource{}, "", "User %q cannot %s path %q%s", a.User.Name, a.Verb, a.Path, because(d.Reason))
	}
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	where := " at the cluster scope"
	if a.Namespace != "" {
		where = fmt.Sprintf(" in the namespace %q", a.Namespace)
	}
	return forbidden(schema.GroupResource{Group: a.Group, Resource: a.Resource}, a.Name,
		"User %q cannot %s resource %q in API group %q%s%s", a.User.Name, a.Verb, resource, a.Group, where, because(d.Reason))
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

func forbidden(gr schema.GroupResource, name, format string, args ...any) error {
	return apierrors.NewForbidden(gr, name, fmt.Errorf(format, args...))
}

// nonResource serves what is no object.
func (h *Handler) nonResource(w *response, r *http.Request, segments []string) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return methodNotAllowed(r)
	}
	first := ""
	if len(segments) > 0 {
		first = segments[0]
	}
	switch first {
	case "":
		return h.index(w, r)
	case "api", "apis":
		return h.discovery(w, r, segments)
	case "healthz", "livez", "readyz":
		return h.health(w, r, segments)
	case "version":
		if len(segments) == 1 {
			return h.writeJSON(w, r, http.StatusOK, h.version)
		}
	case "openapi":
		return h.openapi(w, r, segments[1:])
	}
	return h.notFoundPage(w, r)
}
