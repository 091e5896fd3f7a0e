package wire

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	maxPath  = 8 << 10
	maxQuery = 64 << 10
)

// resourcePath is what a path says about a resource: /api/V/... or /apis/G/V/..., then
// [namespaces/NS/]RESOURCE[/NAME[/SUBRESOURCE]].
type resourcePath struct {
	group, version, namespace, resource, name, subresource string

	watch bool // the older way to ask for a watch: /api/V/watch/..., and for one of a single object
}

// split cuts a path into its segments. An encoded slash would make two readings of one path possible, so it is refused,
// as are segments that file systems and proxies treat as directions.
func split(u *url.URL) ([]string, error) {
	if len(u.Path) > maxPath || len(u.RawQuery) > maxQuery {
		return nil, apierrors.NewBadRequest("the path or the query is too long")
	}
	if strings.Contains(strings.ToLower(u.RawPath), "%2f") || strings.ContainsAny(u.Path, "%\\\x00") {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("path %q: encoded slashes, percent signs and backslashes are no part of names", u.EscapedPath()))
	}
	path := strings.TrimPrefix(u.Path, "/")
	path = strings.TrimSuffix(path, "/")
	if path == "" {
		return nil, nil
	}
	segments := strings.Split(path, "/")
	for _, s := range segments {
		if s == "" || s == "." || s == ".." {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("path %q: the segment %q names nothing", u.EscapedPath(), s))
		}
	}
	return segments, nil
}

// parseResource reads a path that is deep enough to be a resource's; others are discovery or none of the API.
func parseResource(segments []string) (resourcePath, bool) {
	var p resourcePath
	var rest []string
	switch {
	case len(segments) > 2 && segments[0] == "api":
		p.version, rest = segments[1], segments[2:]
	case len(segments) > 3 && segments[0] == "apis":
		p.group, p.version, rest = segments[1], segments[2], segments[3:]
	default:
		return p, false
	}
	if rest[0] == "watch" && len(rest) > 1 {
		p.watch, rest = true, rest[1:]
	}
	// Below a namespace is a resource, except for the namespace's own subresources.
	if rest[0] == "namespaces" && len(rest) > 2 && !(p.group == "" && len(rest) == 3 && (rest[2] == "status" || rest[2] == "finalize")) {
		p.namespace, rest = rest[1], rest[2:]
	}
	p.resource = rest[0]
	if len(rest) > 1 {
		p.name = rest[1]
	}
	if len(rest) > 2 {
		p.subresource = strings.Join(rest[2:], "/")
	}
	return p, true
}

// notFoundPage is the answer for paths outside the API, which are no business of its clients.
func (h *Handler) notFoundPage(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	return h.send(w, r, http.StatusNotFound, "text/plain; charset=utf-8", []byte("404 page not found\n"))
}

func notFound(r *http.Request) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
		Message: "the server could not find the requested resource",
		Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: metav1.CauseTypeUnexpectedServerResponse, Message: "404 page not found: " + r.URL.Path}}},
	}}
}

func methodNotAllowed(r *http.Request) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusMethodNotAllowed, Reason: metav1.StatusReasonMethodNotAllowed,
		Message: fmt.Sprintf("the server does not allow this method on the requested resource: %s %s", r.Method, r.URL.Path),
	}}
}
