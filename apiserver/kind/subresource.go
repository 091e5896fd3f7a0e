package kind

import (
	"maps"
	"net/http"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
)

// Sent is the kind that a subresource of k reads and writes: often k itself, sometimes one that is only ever sent and
// never stored (Scale, Binding, Eviction, TokenRequest).
func (k *Kind) Sent(subresource string) *Kind {
	switch subresource {
	case "scale":
		return sent[*autoscalingv1.Scale](k, "autoscaling", "Scale")
	case "binding":
		return sent[*corev1.Binding](k, "", "Binding")
	case "eviction":
		return sent[*policyv1.Eviction](k, "policy", "Eviction")
	case "token":
		return sent[*authenticationv1.TokenRequest](k, "authentication.k8s.io", "TokenRequest")
	}
	return k
}

func sent[T Instance](k *Kind, group, name string) *Kind {
	t := Must(Describe[T](Kind{Group: group, Version: "v1", Name: name, Plural: k.Plural, Singular: k.Singular, Namespaced: k.Namespaced}))
	return t.Kind()
}

// SubresourceNames are the subresources of the kind, status and scale included.
func (k *Kind) SubresourceNames() []string {
	var out []string
	if k.Status {
		out = append(out, "status")
	}
	if k.Scale != nil {
		out = append(out, "scale")
	}
	out = slices.AppendSeq(out, slices.Values(slices.Sorted(maps.Keys(k.Parts))))
	for _, s := range k.Subresources {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// SubresourceMethods are the HTTP methods that a subresource is used with.
func SubresourceMethods(subresource string) []string {
	switch subresource {
	case "binding", "eviction", "token":
		return []string{http.MethodPost}
	case "finalize":
		return []string{http.MethodPut}
	case "log":
		return []string{http.MethodGet, http.MethodHead}
	case "exec", "attach", "portforward":
		return []string{http.MethodGet, http.MethodPost}
	}
	return []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch}
}

// ConnectOptions is the kind of core/v1 whose fields are the query of a subresource that is a stream: log, exec, attach, portforward,
// proxy. It is empty for the others.
func (k *Kind) ConnectOptions(subresource string) string {
	switch subresource {
	case "log":
		return "PodLogOptions"
	case "exec":
		return "PodExecOptions"
	case "attach":
		return "PodAttachOptions"
	case "portforward":
		return "PodPortForwardOptions"
	case "proxy":
		return k.Name + "ProxyOptions"
	}
	return ""
}
