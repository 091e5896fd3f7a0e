package wire

import (
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
)

// discovery answers /api, /apis and what is below them down to a group's version.
func (h *Handler) discovery(w http.ResponseWriter, r *http.Request, segments []string) error {
	served := h.served.Load()
	core := segments[0] == "api"
	switch len(segments) {
	case 1:
		if v := wantsAggregated(r); v != "" {
			if core {
				return h.aggregated(w, r, served.core, v)
			}
			return h.aggregated(w, r, served.named, v)
		}
		w.Header().Add("Vary", "Accept")
		if core {
			return h.writeDiscovery(w, r, &metav1.APIVersions{
				TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}, ServerAddressByClientCIDRs: reachedAt(r),
			}, "v1", "APIVersions")
		}
		list := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroupList"}, Groups: []metav1.APIGroup{}}
		for _, g := range served.groups {
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
			return h.notFoundPage(w, r)
		}
		return h.discoverGroup(w, r, served, name, version)
	}
	return h.notFoundPage(w, r)
}

// reachedAt is where the client has reached the server.
func reachedAt(r *http.Request) []metav1.ServerAddressByClientCIDR {
	out := []metav1.ServerAddressByClientCIDR{}
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		out = append(out, metav1.ServerAddressByClientCIDR{ClientCIDR: "0.0.0.0/0", ServerAddress: a.String()})
	}
	return out
}

func (h *Handler) discoverGroup(w http.ResponseWriter, r *http.Request, served *served, name, version string) error {
	for _, g := range served.groups {
		if g.name != name {
			continue
		}
		if version == "" {
			d := g.describe()
			d.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroup"}
			return h.writeDiscovery(w, r, &d, "v1", "APIGroup")
		}
		for _, v := range g.versions {
			if v.version != version {
				continue
			}
			list := &metav1.APIResourceList{
				TypeMeta:     metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"},
				GroupVersion: schema.GroupVersion{Group: name, Version: version}.String(), APIResources: v.resources,
			}
			if name == "" {
				list.APIVersion = "" // as kube-apiserver has it
			}
			return h.writeDiscovery(w, r, list, "v1", "APIResourceList")
		}
	}
	return h.notFoundPage(w, r)
}

func (h *Handler) writeDiscovery(w http.ResponseWriter, r *http.Request, v any, apiVersion, name string) error {
	f, err := negotiate(r, want{protobuf: true, yaml: true})
	if err != nil {
		return err
	}
	return h.writeMeta(w, r, http.StatusOK, f, apiVersion, name, v)
}

// index answers / with the paths that there are.
func (h *Handler) index(w http.ResponseWriter, r *http.Request) error {
	paths := []string{"/api", "/api/v1", "/apis", "/apis/", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/openapi/v3/", "/readyz", "/version"}
	for _, path := range []string{"healthz", "livez", "readyz"} {
		for _, c := range h.checks(path) {
			paths = append(paths, "/"+path+"/"+c.Name)
		}
	}
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

// versionOf splits a version such as v1.37.2 into what clients read. As with kube-apiserver, clients of the minor version before
// are served too.
func versionOf(v string) (versionInfo, error) {
	var major, minor, patch int
	if _, err := fmt.Sscanf(v, "v%d.%d.%d", &major, &minor, &patch); err != nil {
		return versionInfo{}, fmt.Errorf("%q: want a Kubernetes version such as %s", v, DefaultVersion)
	}
	return versionInfo{
		Major: fmt.Sprint(major), Minor: fmt.Sprint(minor),
		EmulationMajor: fmt.Sprint(major), EmulationMinor: fmt.Sprint(minor),
		MinCompatibilityMajor: fmt.Sprint(major), MinCompatibilityMinor: fmt.Sprint(max(minor-1, 0)),
		GitVersion: v + "-keelson", GitTreeState: "clean",
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}, nil
}
