package wire

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// mediaDiscovery is the content type of aggregated discovery. Clients that do not find its parameters in the answer
// read it as the older format.
const mediaDiscovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// group is an API group with its versions, the preferred one first.
type group struct {
	name     string
	versions []groupVersion
}

type groupVersion struct {
	version   string
	resources []metav1.APIResource // subresources are named resource/subresource
}

var objectVerbs = metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// groupsOf makes what discovery tells about kinds and reviews. The core group comes first.
func groupsOf(kinds []*kind.Kind, more map[schema.GroupResource]review) []group {
	groups := []group{}
	resources := func(name, version string) *[]metav1.APIResource {
		g := slices.IndexFunc(groups, func(g group) bool { return g.name == name })
		if g < 0 {
			g = len(groups)
			groups = append(groups, group{name: name})
		}
		v := slices.IndexFunc(groups[g].versions, func(v groupVersion) bool { return v.version == version })
		if v < 0 {
			v = len(groups[g].versions)
			groups[g].versions = append(groups[g].versions, groupVersion{version: version})
		}
		return &groups[g].versions[v].resources
	}
	for _, k := range kinds {
		into := resources(k.Group, k.Version)
		*into = append(*into, metav1.APIResource{
			Name: k.Plural, SingularName: k.Singular, Namespaced: k.Namespaced, Kind: k.Name, Verbs: objectVerbs,
			ShortNames: k.ShortNames, Categories: k.Categories,
		})
		for _, s := range subresources(k) {
			sent := k.Sent(s)
			r := metav1.APIResource{Name: k.Plural + "/" + s, Namespaced: k.Namespaced, Kind: sent.Name, Verbs: subresourceVerbs(s)}
			if sent != k {
				r.Group, r.Version = sent.Group, sent.Version
			}
			*into = append(*into, r)
		}
	}
	byName := func(a, b schema.GroupResource) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Resource, b.Resource))
	}
	for _, gr := range slices.SortedFunc(maps.Keys(more), byName) {
		into := resources(gr.Group, "v1")
		*into = append(*into, metav1.APIResource{
			Name: gr.Resource, SingularName: strings.TrimSuffix(gr.Resource, "s"), Kind: more[gr].name, Verbs: metav1.Verbs{"create"},
		})
	}
	for i := range groups {
		for j := range groups[i].versions {
			slices.SortStableFunc(groups[i].versions[j].resources, func(a, b metav1.APIResource) int { return strings.Compare(a.Name, b.Name) })
		}
	}
	for i := range groups {
		slices.SortFunc(groups[i].versions, func(a, b groupVersion) int { return kind.CompareVersions(a.version, b.version) })
	}
	slices.SortStableFunc(groups, func(a, b group) int { // core first
		switch {
		case a.name == "" && b.name != "":
			return -1
		case b.name == "" && a.name != "":
			return 1
		}
		return 0
	})
	return groups
}

// subresourceVerbs are the verbs of a subresource, from its methods.
func subresourceVerbs(subresource string) metav1.Verbs {
	var verbs metav1.Verbs
	for _, m := range methods(subresource) {
		switch m {
		case http.MethodGet:
			verbs = append(verbs, "get")
		case http.MethodPost:
			verbs = append(verbs, "create")
		case http.MethodPut:
			verbs = append(verbs, "update")
		case http.MethodPatch:
			verbs = append(verbs, "patch")
		}
	}
	slices.Sort(verbs)
	return verbs
}

// discovery answers /api, /apis and what is below them down to a group's version.
func (h *Handler) discovery(w http.ResponseWriter, r *http.Request, segments []string) error {
	core := segments[0] == "api"
	switch len(segments) {
	case 1:
		if wantsAggregated(r) {
			data, err := json.Marshal(&apidiscoveryv2.APIGroupDiscoveryList{
				TypeMeta: metav1.TypeMeta{APIVersion: "apidiscovery.k8s.io/v2", Kind: "APIGroupDiscoveryList"}, Items: h.aggregated(core),
			})
			if err != nil {
				return fmt.Errorf("encode discovery: %w", err)
			}
			w.Header().Add("Vary", "Accept")
			return h.send(w, r, http.StatusOK, mediaDiscovery, data)
		}
		if core {
			return h.writeDiscovery(w, r, &metav1.APIVersions{
				TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}, ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{},
			}, "v1", "APIVersions")
		}
		list := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroupList"}, Groups: []metav1.APIGroup{}}
		for _, g := range h.served.Load().groups {
			if g.name != "" {
				list.Groups = append(list.Groups, g.describe())
			}
		}
		return h.writeDiscovery(w, r, list, "v1", "APIGroupList")
	case 2, 3:
		name, version := "", segments[1]
		if !core {
			name, version = segments[1], ""
			if len(segments) == 3 {
				version = segments[2]
			}
		} else if len(segments) == 3 {
			return notFound(r)
		}
		return h.discoverGroup(w, r, name, version)
	}
	return notFound(r)
}

func (h *Handler) discoverGroup(w http.ResponseWriter, r *http.Request, name, version string) error {
	for _, g := range h.served.Load().groups {
		if g.name != name {
			continue
		}
		if version == "" {
			d := g.describe()
			d.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroup"}
			return h.writeDiscovery(w, r, &d, "v1", "APIGroup")
		}
		for _, v := range g.versions {
			if v.version == version {
				return h.writeDiscovery(w, r, &metav1.APIResourceList{
					TypeMeta:     metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"},
					GroupVersion: schema.GroupVersion{Group: name, Version: version}.String(), APIResources: v.resources,
				}, "v1", "APIResourceList")
			}
		}
	}
	return notFound(r)
}

func (h *Handler) writeDiscovery(w http.ResponseWriter, r *http.Request, v any, apiVersion, name string) error {
	f, err := negotiate(r, want{protobuf: true, yaml: true})
	if err != nil {
		return err
	}
	return h.writeMeta(w, r, http.StatusOK, f, apiVersion, name, v)
}

func (g group) describe() metav1.APIGroup {
	out := metav1.APIGroup{Name: g.name}
	for _, v := range g.versions {
		out.Versions = append(out.Versions, metav1.GroupVersionForDiscovery{GroupVersion: g.name + "/" + v.version, Version: v.version})
	}
	out.PreferredVersion = out.Versions[0]
	return out
}

// wantsAggregated reports whether the request prefers aggregated discovery.
func wantsAggregated(r *http.Request) bool {
	for _, m := range accepted(r.Header.Values("Accept")) {
		switch {
		case m.media == mediaJSON && m.params["as"] == "APIGroupDiscoveryList" && m.params["g"] == "apidiscovery.k8s.io" && m.params["v"] == "v2":
			return true
		case m.params["as"] == "":
			return false
		}
	}
	return false
}

func (h *Handler) aggregated(core bool) []apidiscoveryv2.APIGroupDiscovery {
	items := []apidiscoveryv2.APIGroupDiscovery{}
	for _, g := range h.served.Load().groups {
		if core != (g.name == "") {
			continue
		}
		item := apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: g.name}}
		for _, v := range g.versions {
			item.Versions = append(item.Versions, apidiscoveryv2.APIVersionDiscovery{
				Version: v.version, Resources: nested(schema.GroupVersion{Group: g.name, Version: v.version}, v.resources), Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent,
			})
		}
		items = append(items, item)
	}
	return items
}

// nested is the list of resources with the subresources below them.
func nested(gv schema.GroupVersion, resources []metav1.APIResource) []apidiscoveryv2.APIResourceDiscovery {
	out := []apidiscoveryv2.APIResourceDiscovery{}
	for _, r := range resources {
		kind := &metav1.GroupVersionKind{Group: gv.Group, Version: gv.Version, Kind: r.Kind}
		if r.Version != "" {
			kind.Group, kind.Version = r.Group, r.Version
		}
		name, sub, isSub := strings.Cut(r.Name, "/")
		if !isSub {
			scope := apidiscoveryv2.ScopeCluster
			if r.Namespaced {
				scope = apidiscoveryv2.ScopeNamespace
			}
			out = append(out, apidiscoveryv2.APIResourceDiscovery{
				Resource: name, ResponseKind: kind, Scope: scope, SingularResource: r.SingularName, Verbs: r.Verbs, ShortNames: r.ShortNames, Categories: r.Categories,
			})
			continue
		}
		for i := range out {
			if out[i].Resource == name {
				out[i].Subresources = append(out[i].Subresources, apidiscoveryv2.APISubresourceDiscovery{Subresource: sub, ResponseKind: kind, Verbs: r.Verbs})
			}
		}
	}
	return out
}

// index answers / with the paths that there are.
func (h *Handler) index(w http.ResponseWriter, r *http.Request) error {
	paths := []string{"/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"}
	for _, g := range h.served.Load().groups {
		if g.name == "" {
			continue
		}
		paths = append(paths, "/apis/"+g.name)
		for _, v := range g.versions {
			paths = append(paths, "/apis/"+g.name+"/"+v.version)
		}
	}
	slices.Sort(paths)
	return h.writeJSON(w, r, http.StatusOK, metav1.RootPaths{Paths: paths})
}

// versionInfo is the answer of /version.
type versionInfo = version.Info

// versionOf splits a version such as v1.37.2 into what clients read.
func versionOf(v string) (versionInfo, error) {
	var major, minor, patch int
	if _, err := fmt.Sscanf(v, "v%d.%d.%d", &major, &minor, &patch); err != nil {
		return versionInfo{}, fmt.Errorf("%q: want a Kubernetes version such as %s", v, DefaultVersion)
	}
	return versionInfo{
		Major: fmt.Sprint(major), Minor: fmt.Sprint(minor), GitVersion: v + "-keelson", GitTreeState: "clean",
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}, nil
}
