package builtin

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// How much one slice may hold. Source: k8s.io/api, discovery/v1.
const (
	maxEndpoints         = 1000
	maxEndpointAddresses = 100
	maxEndpointPorts     = 20000
)

func endpointSlices(o Options) behaviour[*discoveryv1.EndpointSlice] {
	return behaviour[*discoveryv1.EndpointSlice]{
		defaults: func(s *discoveryv1.EndpointSlice) {
			for i := range s.Ports {
				setPtr(&s.Ports[i].Name, "")
				setPtr(&s.Ports[i].Protocol, corev1.ProtocolTCP)
			}
		},
		validate: func(s, old *discoveryv1.EndpointSlice) field.ErrorList { return validateEndpointSlice(s, old, o) },
		columns: []kind.Column{
			nameColumn(),
			column("AddressType", "What the addresses are", func(s *discoveryv1.EndpointSlice, _ time.Time) any { return string(s.AddressType) }),
			column("Ports", "Ports of every endpoint", func(s *discoveryv1.EndpointSlice, _ time.Time) any { return slicePorts(s) }),
			column("Endpoints", "Addresses of the endpoints", func(s *discoveryv1.EndpointSlice, _ time.Time) any { return sliceAddresses(s) }),
			ageColumn(),
		},
	}
}

func validateEndpointSlice(s, old *discoveryv1.EndpointSlice, o Options) field.ErrorList {
	errs := oneOf(s.AddressType, field.NewPath("addressType"), discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	if old != nil {
		errs = append(errs, immutable(s.AddressType, old.AddressType, field.NewPath("addressType"))...)
	}
	all := field.NewPath("endpoints")
	if len(s.Endpoints) > maxEndpoints {
		return append(errs, field.TooMany(all, len(s.Endpoints), maxEndpoints))
	}
	for i, e := range s.Endpoints {
		errs = append(errs, validateSliceEndpoint(e, s.AddressType, all.Index(i), o)...)
	}
	ports := field.NewPath("ports")
	if len(s.Ports) > maxEndpointPorts {
		return append(errs, field.TooMany(ports, len(s.Ports), maxEndpointPorts))
	}
	names := make(seen[string], len(s.Ports))
	for i, p := range s.Ports {
		at := ports.Index(i)
		name := deref(p.Name)
		errs = append(errs, mayName(name, at.Child("name"), dnsLabel)...)
		errs = append(errs, names.add(name, at.Child("name"))...)
		errs = append(errs, protocol(deref(p.Protocol), at.Child("protocol"))...)
		if p.Port != nil {
			errs = append(errs, portNumber(*p.Port, at.Child("port"))...)
		}
		if app := deref(p.AppProtocol); app != "" {
			errs = append(errs, checkName(app, at.Child("appProtocol"), validation.IsQualifiedName)...)
		}
	}
	return errs
}

func validateSliceEndpoint(e discoveryv1.Endpoint, t discoveryv1.AddressType, at *field.Path, o Options) field.ErrorList {
	var errs field.ErrorList
	addresses := at.Child("addresses")
	switch n := len(e.Addresses); {
	case n == 0:
		errs = append(errs, field.Required(addresses, "must contain at least 1 address"))
	case n > maxEndpointAddresses:
		errs = append(errs, field.TooMany(addresses, n, maxEndpointAddresses))
	}
	for j, a := range e.Addresses {
		here := addresses.Index(j)
		switch t {
		case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
			bad := validation.IsValidIP(here, a)
			if len(bad) == 0 {
				bad = family(a, t == discoveryv1.AddressTypeIPv6, here)
			}
			if len(bad) == 0 {
				bad = validateEndpointIP(a, here, o)
			}
			errs = append(errs, bad...)
		case discoveryv1.AddressTypeFQDN:
			errs = append(errs, validation.IsFullyQualifiedDomainName(here, a)...)
		}
	}
	if e.Hostname != nil {
		errs = append(errs, needName(*e.Hostname, at.Child("hostname"), dnsLabel)...)
	}
	if e.NodeName != nil {
		errs = append(errs, needName(*e.NodeName, at.Child("nodeName"), dnsSubdomain)...)
	}
	return errs
}

func slicePorts(s *discoveryv1.EndpointSlice) string {
	if s.Ports == nil {
		return "<unset>"
	}
	var all []string
	for _, p := range s.Ports {
		switch {
		case p.Port != nil:
			all = append(all, integer(int64(*p.Port)))
		case deref(p.Name) != "":
			all = append(all, fmt.Sprintf("%s:*", *p.Name))
		default:
			all = append(all, "*")
		}
	}
	return shortList(all, 3)
}

func sliceAddresses(s *discoveryv1.EndpointSlice) string {
	if s.Endpoints == nil {
		return "<unset>"
	}
	var all []string
	for _, e := range s.Endpoints {
		all = append(all, e.Addresses...)
	}
	return shortList(all, 3)
}
