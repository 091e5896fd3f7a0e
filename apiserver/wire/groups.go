package wire

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// group is an API group with its versions, the preferred one first.
type group struct {
	name     string
	versions []groupVersion
}

type groupVersion struct {
	version   string
	resources []metav1.APIResource // subresources are named resource/subresource
}

// groupOrder is the order in which kube-apiserver lists its groups: kubectl takes a short name from the first group that has it.
// Other groups follow by name.
var groupOrder = []string{
	"", "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch",
	"certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io", "admissionregistration.k8s.io",
	"apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io", "resource.k8s.io",
	"flowcontrol.apiserver.k8s.io", "internal.apiserver.k8s.io", "storagemigration.k8s.io",
}

func compareGroups(a, b group) int {
	place := func(name string) int {
		if i := slices.Index(groupOrder, name); i >= 0 {
			return i
		}
		return len(groupOrder)
	}
	return cmp.Or(cmp.Compare(place(a.name), place(b.name)), strings.Compare(a.name, b.name))
}

var objectVerbs = metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// groupsOf makes what discovery tells about kinds and reviews.
func groupsOf(kinds []*kind.Kind, more map[schema.GroupResource]review) []group {
	versions := map[string]map[string][]metav1.APIResource{}
	add := func(group, version string, r metav1.APIResource) {
		if versions[group] == nil {
			versions[group] = map[string][]metav1.APIResource{}
		}
		versions[group][version] = append(versions[group][version], r)
	}
	for _, k := range kinds {
		for _, r := range resourcesOf(k) {
			add(k.Group, k.Version, r)
		}
	}
	for gr, rev := range more {
		add(gr.Group, "v1", metav1.APIResource{
			Name: gr.Resource, SingularName: strings.TrimSuffix(gr.Resource, "s"), Kind: rev.name, Verbs: metav1.Verbs{"create"},
		})
	}
	groups := []group{}
	for name, of := range versions {
		g := group{name: name}
		for _, version := range slices.SortedFunc(maps.Keys(of), kind.CompareVersions) {
			slices.SortFunc(of[version], func(a, b metav1.APIResource) int { return strings.Compare(a.Name, b.Name) })
			g.versions = append(g.versions, groupVersion{version, of[version]})
		}
		groups = append(groups, g)
	}
	slices.SortFunc(groups, compareGroups)
	return groups
}

// resourcesOf are a kind and its subresources.
func resourcesOf(k *kind.Kind) []metav1.APIResource {
	stored := k.Stored()
	verbs := objectVerbs
	if k.Verbs != nil {
		verbs = slices.Sorted(slices.Values(k.Verbs))
	}
	out := []metav1.APIResource{{
		Name: k.Plural, SingularName: k.Singular, Namespaced: k.Namespaced, Kind: k.Name, Verbs: verbs,
		ShortNames: k.ShortNames, Categories: k.Categories, StorageVersionHash: storageVersionHash(stored.Group, stored.Version, stored.Name),
	}}
	for _, s := range k.SubresourceNames() {
		r := metav1.APIResource{Name: k.Plural + "/" + s, Namespaced: k.Namespaced, Kind: k.Name, Verbs: subresourceVerbs(s)}
		if sent := k.Sent(s); sent != k {
			r.Kind, r.Group, r.Version = sent.Name, sent.Group, sent.Version
			if sent.Group == k.Group && sent.Version == k.Version {
				r.Group, r.Version = "", ""
			}
		} else if options := k.ConnectOptions(s); options != "" && s != "log" {
			r.Kind = options
		}
		out = append(out, r)
	}
	return out
}

// storageVersionHash tells clients whether the version that objects are stored in has changed, as kube-apiserver computes it.
func storageVersionHash(group, version, name string) string {
	sum := sha256.Sum256([]byte(group + "/" + version + "/" + name))
	return base64.StdEncoding.EncodeToString(sum[:8])
}

// subresourceVerbs are the verbs of a subresource, from its methods.
func subresourceVerbs(subresource string) metav1.Verbs {
	verbs := metav1.Verbs{}
	for _, m := range kind.SubresourceMethods(subresource) {
		switch m {
		case http.MethodGet:
			verbs = append(verbs, "get")
		case http.MethodPost:
			verbs = append(verbs, "create")
		case http.MethodPut:
			verbs = append(verbs, "update")
		case http.MethodPatch:
			verbs = append(verbs, "patch")
		case http.MethodDelete:
			verbs = append(verbs, "delete")
		}
	}
	slices.Sort(verbs)
	return verbs
}

func (g group) describe() metav1.APIGroup {
	out := metav1.APIGroup{Name: g.name}
	for _, v := range g.versions {
		out.Versions = append(out.Versions, metav1.GroupVersionForDiscovery{GroupVersion: g.name + "/" + v.version, Version: v.version})
	}
	out.PreferredVersion = out.Versions[0]
	return out
}
