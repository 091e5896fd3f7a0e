package builtin

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func endpoints(o Options) behaviour[*corev1.Endpoints] {
	return behaviour[*corev1.Endpoints]{
		defaults: func(e *corev1.Endpoints) {
			for i := range e.Subsets {
				for j := range e.Subsets[i].Ports {
					set(&e.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
				}
			}
		},
		validate: func(e, _ *corev1.Endpoints) field.ErrorList { return validateEndpoints(e, o) },
		columns: []kind.Column{
			nameColumn(),
			column("Endpoints", "Addresses with ports", func(e *corev1.Endpoints, _ time.Time) any { return endpointList(e) }),
			ageColumn(),
		},
	}
}

func validateEndpoints(e *corev1.Endpoints, o Options) field.ErrorList {
	var errs field.ErrorList
	for i, s := range e.Subsets {
		at := field.NewPath("subsets").Index(i)
		if len(s.Addresses)+len(s.NotReadyAddresses) == 0 {
			errs = append(errs, field.Required(at, "must specify `addresses` or `notReadyAddresses`"))
		}
		for j, a := range s.Addresses {
			errs = append(errs, validateEndpointAddress(a, at.Child("addresses").Index(j), o)...)
		}
		for j, a := range s.NotReadyAddresses {
			errs = append(errs, validateEndpointAddress(a, at.Child("notReadyAddresses").Index(j), o)...)
		}
		for j, p := range s.Ports {
			port := at.Child("ports").Index(j)
			if p.Name == "" && len(s.Ports) > 1 {
				errs = append(errs, field.Required(port.Child("name"), "several ports are told apart by name"))
			}
			errs = append(errs, mayName(p.Name, port.Child("name"), dnsLabel)...)
			errs = append(errs, portNumber(p.Port, port.Child("port"))...)
			errs = append(errs, protocol(p.Protocol, port.Child("protocol"))...)
		}
	}
	return errs
}

func validateEndpointAddress(a corev1.EndpointAddress, at *field.Path, o Options) field.ErrorList {
	errs := validation.IsValidIP(at.Child("ip"), a.IP)
	if len(errs) == 0 {
		errs = append(errs, validateEndpointIP(a.IP, at.Child("ip"), o)...)
	}
	return append(errs, mayName(a.Hostname, at.Child("hostname"), dnsLabel)...)
}

// validateEndpointIP refuses addresses that no pod elsewhere can have: traffic to them would stay on the node that sends
// it, or reach everybody on its link. Source: CVE-2015-7528 and the rules of Endpoints.
func validateEndpointIP(text string, at *field.Path, o Options) field.ErrorList {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return nil // reported as no address
	}
	ip = ip.Unmap()
	bad := func(what string) field.ErrorList {
		return field.ErrorList{field.Invalid(at, text, "may not be "+what)}
	}
	switch {
	case ip.IsUnspecified():
		return bad("unspecified (0.0.0.0 or ::)")
	case ip.IsLoopback() && !o.EmbeddedNetwork:
		return bad("in the loopback range (127.0.0.0/8, ::1/128)")
	case ip.IsLinkLocalUnicast():
		return bad("in the link-local range (169.254.0.0/16, fe80::/10)")
	case ip.IsLinkLocalMulticast():
		return bad("in the link-local multicast range (224.0.0.0/24, ff02::/10)")
	}
	return nil
}

func protocol(p corev1.Protocol, at *field.Path) field.ErrorList {
	return oneOf(p, at, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)
}

func endpointList(e *corev1.Endpoints) string {
	var all []string
	for _, s := range e.Subsets {
		if len(s.Ports) == 0 {
			for _, a := range s.Addresses {
				all = append(all, a.IP)
			}
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				all = append(all, hostPort(a.IP, p.Port))
			}
		}
	}
	return shortList(all, 3)
}

func hostPort(host string, port int32) string {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
		return fmt.Sprintf("[%s]:%d", host, port)
	}
	return host + ":" + strconv.Itoa(int(port))
}
