package apiserver

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

const (
	registry = "/registry/"
	claims   = "/keelson/claims/"
)

// prefixOf is where the objects of a resource stand, from /registry/ to a final slash. The rules are kube-apiserver's
// (its storage factory's resource prefixes; custom resources stand under their group).
func prefixOf(k *kind.Kind) string {
	if !upstreamGroup(k.Group) {
		return registry + k.Group + "/" + k.Plural + "/"
	}
	switch k.GroupResource() {
	case schema.GroupResource{Resource: "nodes"}:
		return registry + "minions/"
	case schema.GroupResource{Resource: "services"}:
		return registry + "services/specs/"
	case schema.GroupResource{Resource: "endpoints"}:
		return registry + "services/endpoints/"
	case schema.GroupResource{Resource: "replicationcontrollers"}:
		return registry + "controllers/"
	case schema.GroupResource{Group: "networking.k8s.io", Resource: "ingresses"}:
		return registry + "ingress/"
	}
	return registry + k.Plural + "/"
}

// upstreamGroup reports whether kube-apiserver itself serves the group, and so leaves it out of keys.
func upstreamGroup(group string) bool {
	switch group {
	case "", "apps", "autoscaling", "batch", "policy", "extensions",
		"admissionregistration.k8s.io", "certificates.k8s.io", "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io",
		"flowcontrol.apiserver.k8s.io", "internal.apiserver.k8s.io", "networking.k8s.io", "node.k8s.io",
		"rbac.authorization.k8s.io", "resource.k8s.io", "scheduling.k8s.io", "storage.k8s.io", "storagemigration.k8s.io":
		return true
	}
	return false
}

// key is where one object stands; namespace is empty for cluster-scoped kinds.
func (c *cache) key(namespace, name string) string {
	if c.kind.Namespaced {
		return c.prefix + namespace + "/" + name
	}
	return c.prefix + name
}

// scope is the prefix of the keys of a namespace, or of all when it is empty.
func (c *cache) scope(namespace string) string {
	if c.kind.Namespaced && namespace != "" {
		return c.prefix + namespace + "/"
	}
	return c.prefix
}

// claimKey is where the holder of a claim is noted.
func claimKey(claim string) []byte { return []byte(claims + claim) }

// router finds the cache that a key belongs to by the key's first two segments, or first one, after /registry/.
type router map[string]*cache

func (r router) add(c *cache) error {
	segment := strings.TrimSuffix(strings.TrimPrefix(c.prefix, registry), "/")
	if other, ok := r[segment]; ok {
		return fmt.Errorf("%s and %s would be stored in one place: give the versions of one kind a Hub", c.kind.GroupVersionKind(), other.kind.GroupVersionKind())
	}
	r[segment] = c
	return nil
}

// find answers nil for a key of nobody here.
func (r router) find(key string) *cache {
	rest, ok := strings.CutPrefix(key, registry)
	if !ok {
		return nil
	}
	first := strings.IndexByte(rest, '/')
	if first < 0 {
		return nil
	}
	if second := strings.IndexByte(rest[first+1:], '/'); second >= 0 {
		if c, ok := r[rest[:first+1+second]]; ok {
			return c
		}
	}
	return r[rest[:first]]
}
