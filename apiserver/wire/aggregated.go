package wire

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// aggregated is discovery in one answer, for /api or for /apis. Both versions of it have the same fields.
type aggregated struct {
	data map[string][]byte // by version
	tag  string
}

// newAggregated encodes what groups have, when it is first asked for.
func newAggregated(groups []group) func() (*aggregated, error) {
	return sync.OnceValues(func() (*aggregated, error) {
		items := make([]apidiscoveryv2.APIGroupDiscovery, len(groups))
		for i, g := range groups {
			items[i] = aggregate(g)
		}
		out := &aggregated{data: map[string][]byte{}}
		for _, version := range []string{"v2beta1", "v2"} {
			data, err := json.Marshal(&apidiscoveryv2.APIGroupDiscoveryList{
				TypeMeta: metav1.TypeMeta{APIVersion: "apidiscovery.k8s.io/" + version, Kind: "APIGroupDiscoveryList"}, Items: items,
			})
			if err != nil {
				return nil, fmt.Errorf("encode discovery: %w", err)
			}
			out.data[version] = data
			out.tag = fmt.Sprintf("%X", sha512.Sum512(data))
		}
		return out, nil
	})
}

// aggregate is a group with its resources, and the subresources below them.
func aggregate(g group) apidiscoveryv2.APIGroupDiscovery {
	item := apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: g.name}}
	for _, v := range g.versions {
		version := apidiscoveryv2.APIVersionDiscovery{Version: v.version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
		for _, r := range v.resources {
			kind := &metav1.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind} // empty: the resource's own
			name, sub, isSub := strings.Cut(r.Name, "/")
			if isSub { // sorted behind its resource
				for i := range version.Resources {
					if of := &version.Resources[i]; of.Resource == name {
						of.Subresources = append(of.Subresources, apidiscoveryv2.APISubresourceDiscovery{Subresource: sub, ResponseKind: kind, Verbs: r.Verbs})
					}
				}
				continue
			}
			scope := apidiscoveryv2.ScopeCluster
			if r.Namespaced {
				scope = apidiscoveryv2.ScopeNamespace
			}
			version.Resources = append(version.Resources, apidiscoveryv2.APIResourceDiscovery{
				Resource: name, ResponseKind: kind, Scope: scope, SingularResource: r.SingularName, Verbs: r.Verbs, ShortNames: r.ShortNames, Categories: r.Categories,
			})
		}
		item.Versions = append(item.Versions, version)
	}
	return item
}

// wantsAggregated is the version of aggregated discovery that the request prefers, and empty when it prefers the older answers.
func wantsAggregated(r *http.Request) string {
	for _, m := range accepted(r.Header.Values("Accept")) {
		version := m.params["v"]
		switch {
		case m.params["as"] == "":
			return ""
		case m.media == mediaJSON && m.params["as"] == "APIGroupDiscoveryList" && m.params["g"] == "apidiscovery.k8s.io" && (version == "v2" || version == "v2beta1"):
			return version
		}
	}
	return ""
}

// aggregated answers with discovery in one. The content type has the parameters of the request: clients that do not find them in
// the answer read it as the older format.
func (h *Handler) aggregated(w http.ResponseWriter, r *http.Request, get func() (*aggregated, error), version string) error {
	a, err := get()
	if err != nil {
		return err
	}
	w.Header().Add("Vary", "Accept")
	w.Header().Set("Cache-Control", "public")
	if unchanged(w, r, a.tag) {
		return nil
	}
	return h.send(w, r, http.StatusOK, mediaJSON+";g=apidiscovery.k8s.io;v="+version+";as=APIGroupDiscoveryList", a.data[version])
}
