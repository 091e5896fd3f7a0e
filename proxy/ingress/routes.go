package ingress

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ControllerName is the spec.controller of IngressClasses that this package serves.
const ControllerName = "keelson.dev/ingress"

const annotationClass = "kubernetes.io/ingress.class"

// Backend is a port of a Service.
type Backend struct {
	Namespace, Service string
	PortName           string // empty means by number
	PortNumber         int32
}

// String is namespace/service:port.
func (b Backend) String() string {
	port := b.PortName
	if port == "" {
		port = strconv.Itoa(int(b.PortNumber))
	}
	return b.Namespace + "/" + b.Service + ":" + port
}

// Route is one path of one rule.
type Route struct {
	Ingress types.NamespacedName
	Host    string // lower case; empty means any, *.example.com any one label before .example.com
	Path    string
	Exact   bool // false means a prefix of whole path elements
	Backend Backend
}

// Routes is where requests go. It is immutable and safe for concurrent use.
type Routes struct {
	byHost   map[string][]Route // each in order of precedence
	fallback *Backend
	served   []*networkingv1.Ingress
	tls      []tlsName

	tlsImplied []tlsName // of TLS sections that name no hosts: all hosts of the rules, unless a section names them
}

// tlsName says which Secret has the certificate for a host.
type tlsName struct {
	host   string
	secret types.NamespacedName
}

// BuildRoutes makes the routes of the Ingresses that belong to this controller. It is pure; the order of the arguments
// does not matter. withoutClass takes Ingresses that name no class even if no class is the default.
func BuildRoutes(ingresses []*networkingv1.Ingress, classes []*networkingv1.IngressClass, withoutClass bool) *Routes {
	ours := map[string]bool{}
	for _, c := range classes {
		if c.Spec.Controller == ControllerName {
			ours[c.Name] = true
			withoutClass = withoutClass || c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true"
		}
	}
	r := &Routes{byHost: map[string][]Route{}}
	for _, ing := range ingresses {
		class := ing.Annotations[annotationClass]
		if ing.Spec.IngressClassName != nil {
			class = *ing.Spec.IngressClassName
		}
		if ours[class] || class == "" && withoutClass {
			r.served = append(r.served, ing)
		}
	}
	slices.SortFunc(r.served, func(a, b *networkingv1.Ingress) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	for _, ing := range r.served {
		r.add(ing)
	}
	for _, routes := range r.byHost {
		slices.SortStableFunc(routes, func(a, b Route) int {
			if a.Exact != b.Exact {
				if a.Exact {
					return -1
				}
				return 1
			}
			return len(b.Path) - len(a.Path)
		})
	}
	return r
}

func (r *Routes) add(ing *networkingv1.Ingress) {
	if b, ok := backendOf(ing.Namespace, ing.Spec.DefaultBackend); ok && r.fallback == nil {
		r.fallback = &b
	}
	var hosts []string
	for _, rule := range ing.Spec.Rules {
		host := strings.ToLower(rule.Host)
		hosts = append(hosts, host)
		if rule.HTTP == nil {
			continue
		}
		for _, p := range rule.HTTP.Paths {
			b, ok := backendOf(ing.Namespace, &p.Backend)
			if !ok {
				continue
			}
			r.byHost[host] = append(r.byHost[host], Route{
				Ingress: types.NamespacedName{Namespace: ing.Namespace, Name: ing.Name},
				Host:    host, Path: cmp.Or(p.Path, "/"), Backend: b,
				Exact: p.PathType != nil && *p.PathType == networkingv1.PathTypeExact,
			})
		}
	}
	for _, t := range ing.Spec.TLS {
		names, list := t.Hosts, &r.tls
		if len(names) == 0 {
			names, list = hosts, &r.tlsImplied
		}
		for _, h := range names {
			if h != "" && t.SecretName != "" {
				*list = append(*list, tlsName{strings.ToLower(h), types.NamespacedName{Namespace: ing.Namespace, Name: t.SecretName}})
			}
		}
	}
}

func backendOf(namespace string, b *networkingv1.IngressBackend) (Backend, bool) {
	if b == nil || b.Service == nil {
		return Backend{}, false
	}
	return Backend{namespace, b.Service.Name, b.Service.Port.Name, b.Service.Port.Number}, true
}

// Match finds the backend for a request. host may carry a port. ok is false when nothing matches and there is no
// default backend; then the Route is zero. For a default backend only Backend is set.
func (r *Routes) Match(host, path string) (route Route, ok bool) {
	host = hostname(host)
	candidates := []string{host, ""}
	if _, rest, found := strings.Cut(host, "."); found && rest != "" {
		candidates = []string{host, "*." + rest, ""}
	}
	for _, h := range candidates {
		for _, route := range r.byHost[h] {
			if matches(route, path) {
				return route, true
			}
		}
	}
	if r.fallback != nil {
		return Route{Backend: *r.fallback}, true
	}
	return Route{}, false
}

func matches(r Route, path string) bool {
	if r.Exact {
		return path == r.Path
	}
	prefix := strings.TrimSuffix(r.Path, "/")
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// hostname is a request's host without port and final dot, in lower case.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
