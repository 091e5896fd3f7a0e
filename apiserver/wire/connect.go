package wire

import (
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/authz"
)

// connect passes a request for a running container to its node agent.
func (c *call) connect() error {
	verb := "get"
	if c.path.subresource != "log" {
		verb = "create" // whatever the method: an upgraded GET does as much as a POST
	}
	switch c.r.Method {
	case http.MethodGet:
	case http.MethodPost:
		if verb == "get" {
			return methodNotAllowed(c.r)
		}
	default:
		return methodNotAllowed(c.r)
	}
	if err := c.h.allowed(c.r.Context(), authz.Attributes{
		User: c.user, Verb: verb, Group: c.kind.Group, Version: c.kind.Version, Resource: c.kind.Plural, Subresource: c.path.subresource,
		Namespace: c.path.namespace, Name: c.path.name,
	}); err != nil {
		return err
	}
	if c.h.cfg.Nodes == nil {
		return apierrors.NewGenericServerResponse(http.StatusServiceUnavailable, verb, c.kind.GroupResource(), c.path.name, "this server reaches no node agents", 0, true)
	}
	return c.h.cfg.Nodes.ServeHTTP(c.w, c.r, c.path.namespace, c.path.name, c.path.subresource)
}
