package builtin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func ingresses() behaviour[*networkingv1.Ingress] {
	return behaviour[*networkingv1.Ingress]{
		prepare: func(i, old *networkingv1.Ingress) {
			if old == nil {
				i.Status = networkingv1.IngressStatus{}
				return
			}
			i.Status = *old.Status.DeepCopy()
		},
		validate: validateIngress,
		status:   true,
		columns: []kind.Column{
			nameColumn(),
			column("Class", "Which controller serves it", func(i *networkingv1.Ingress, _ time.Time) any {
				if i.Spec.IngressClassName == nil {
					return none
				}
				return *i.Spec.IngressClassName
			}),
			column("Hosts", "Host names that it matches", func(i *networkingv1.Ingress, _ time.Time) any { return ingressHosts(i) }),
			column("Address", "Where it is reached", func(i *networkingv1.Ingress, _ time.Time) any { return ingressAddress(i) }),
			column("Ports", "80, and 443 with TLS", func(i *networkingv1.Ingress, _ time.Time) any {
				if len(i.Spec.TLS) > 0 {
					return "80, 443"
				}
				return "80"
			}),
			ageColumn(),
		},
	}
}

func ingressClasses() behaviour[*networkingv1.IngressClass] {
	return behaviour[*networkingv1.IngressClass]{
		defaults: func(c *networkingv1.IngressClass) {
			if c.Spec.Parameters != nil {
				setPtr(&c.Spec.Parameters.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
			}
		},
		validate: validateIngressClass,
		columns: []kind.Column{
			nameColumn(),
			column("Controller", "Which controller serves the class", func(c *networkingv1.IngressClass, _ time.Time) any { return c.Spec.Controller }),
			column("Parameters", "Object with further settings", func(c *networkingv1.IngressClass, _ time.Time) any {
				p := c.Spec.Parameters
				if p == nil {
					return none
				}
				if group := deref(p.APIGroup); group != "" {
					return fmt.Sprintf("%s.%s/%s", p.Kind, group, p.Name)
				}
				return p.Kind + "/" + p.Name
			}),
			ageColumn(),
		},
	}
}

func validateIngress(i, _ *networkingv1.Ingress) field.ErrorList {
	spec := field.NewPath("spec")
	var errs field.ErrorList
	if i.Spec.IngressClassName != nil {
		errs = append(errs, needName(*i.Spec.IngressClassName, spec.Child("ingressClassName"), dnsSubdomain)...)
	}
	if i.Spec.DefaultBackend == nil && len(i.Spec.Rules) == 0 {
		errs = append(errs, field.Invalid(spec, i.Spec.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if i.Spec.DefaultBackend != nil {
		errs = append(errs, validateBackend(*i.Spec.DefaultBackend, spec.Child("defaultBackend"))...)
	}
	for n, t := range i.Spec.TLS {
		for m, host := range t.Hosts {
			errs = append(errs, checkName(host, spec.Child("tls").Index(n).Child("hosts").Index(m), ingressHost)...)
		}
	}
	for n, r := range i.Spec.Rules {
		errs = append(errs, validateIngressRule(r, spec.Child("rules").Index(n))...)
	}
	return errs
}

func validateIngressRule(r networkingv1.IngressRule, at *field.Path) field.ErrorList {
	errs := mayName(r.Host, at.Child("host"), ingressHost)
	if r.HTTP == nil {
		return errs
	}
	paths := at.Child("http", "paths")
	if len(r.HTTP.Paths) == 0 {
		errs = append(errs, field.Required(paths, ""))
	}
	for i, p := range r.HTTP.Paths {
		here := paths.Index(i)
		if p.PathType == nil {
			errs = append(errs, field.Required(here.Child("pathType"), "pathType must be specified"))
		} else {
			errs = append(errs, oneOf(*p.PathType, here.Child("pathType"), networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix)...)
		}
		exact := deref(p.PathType) == networkingv1.PathTypeExact || deref(p.PathType) == networkingv1.PathTypePrefix
		switch {
		case !strings.HasPrefix(p.Path, "/") && (exact || p.Path != ""):
			errs = append(errs, field.Invalid(here.Child("path"), p.Path, "must be an absolute path"))
		case exact && (strings.Contains(p.Path, "//") || slices.ContainsFunc(strings.Split(p.Path, "/"), func(s string) bool { return s == "." || s == ".." })):
			errs = append(errs, field.Invalid(here.Child("path"), p.Path, "must not contain '//', '.' or '..' as parts"))
		}
		errs = append(errs, validateBackend(p.Backend, here.Child("backend"))...)
	}
	return errs
}

func validateBackend(b networkingv1.IngressBackend, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case b.Resource != nil && b.Service != nil:
		return field.ErrorList{field.Invalid(at, "", "cannot set both resource and service backends")}
	case b.Resource != nil:
		errs = append(errs, needName(b.Resource.Kind, at.Child("resource", "kind"), pathSegment)...)
		return append(errs, needName(b.Resource.Name, at.Child("resource", "name"), pathSegment)...)
	case b.Service == nil:
		return field.ErrorList{field.Required(at, "a service or a resource backend")}
	}
	errs = append(errs, needName(b.Service.Name, at.Child("service", "name"), dns1035Label)...)
	port := at.Child("service", "port")
	switch p := b.Service.Port; {
	case p.Name != "" && p.Number != 0:
		errs = append(errs, field.Invalid(port, p, "cannot set both port name & port number"))
	case p.Name != "":
		errs = append(errs, checkName(p.Name, port.Child("name"), validation.IsValidPortName)...)
	case p.Number == 0:
		errs = append(errs, field.Required(port, "port name or number is required"))
	default:
		errs = append(errs, portNumber(p.Number, port.Child("number"))...)
	}
	return errs
}

func validateIngressClass(c, old *networkingv1.IngressClass) field.ErrorList {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	if c.Spec.Controller == "" {
		errs = append(errs, field.Required(spec.Child("controller"), "such as example.com/ingress-controller"))
	} else {
		errs = append(errs, validation.IsDomainPrefixedPath(spec.Child("controller"), c.Spec.Controller)...)
	}
	if old != nil {
		errs = append(errs, immutable(c.Spec.Controller, old.Spec.Controller, spec.Child("controller"))...)
	}
	p := c.Spec.Parameters
	if p == nil {
		return errs
	}
	at := spec.Child("parameters")
	errs = append(errs, needName(p.Kind, at.Child("kind"), pathSegment)...)
	errs = append(errs, needName(p.Name, at.Child("name"), pathSegment)...)
	errs = append(errs, oneOf(deref(p.Scope), at.Child("scope"), networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace)...)
	switch deref(p.Scope) {
	case networkingv1.IngressClassParametersReferenceScopeNamespace:
		errs = append(errs, needName(deref(p.Namespace), at.Child("namespace"), dnsLabel)...)
	case networkingv1.IngressClassParametersReferenceScopeCluster:
		if p.Namespace != nil {
			errs = append(errs, field.Forbidden(at.Child("namespace"), "may not be set when scope is Cluster"))
		}
	}
	return errs
}

// ingressHost is a name, or one with * as its first part; an address is neither.
func ingressHost(host string) []string {
	if len(validation.IsValidIP(nil, host)) == 0 {
		return []string{"must be a DNS name, not an IP address"}
	}
	if strings.Contains(host, "*") {
		return validation.IsWildcardDNS1123Subdomain(host)
	}
	return validation.IsDNS1123Subdomain(host)
}

func ingressHosts(i *networkingv1.Ingress) string {
	var hosts []string
	for _, r := range i.Spec.Rules {
		if r.Host != "" {
			hosts = append(hosts, r.Host)
		}
	}
	if len(hosts) == 0 {
		return "*"
	}
	return shortList(hosts, 3)
}

func ingressAddress(i *networkingv1.Ingress) string {
	var all []string
	for _, in := range i.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			all = append(all, in.IP)
		} else if in.Hostname != "" {
			all = append(all, in.Hostname)
		}
	}
	return strings.Join(all, ",")
}
