package builtin

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/admission"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// maxRange bounds how much of a range is used: of a larger one, as IPv6 ranges are, only the beginning.
const maxRange = 1 << 20

// ClusterIPs gives each Service that needs one an address of the range, and refuses requested addresses outside it. The
// beginning of the range (a sixteenth, at most 256 addresses) is left to Services that ask for an address of their own, as
// long as there is another. Source: KEP-3070. c must be able to list Services of all namespaces. That an address is given
// only once is the store's promise (see kind.Strategy.Claims); the plugin only picks one that looks free.
func ClusterIPs(prefix netip.Prefix, c client.Client) admission.Plugin {
	prefix = prefix.Masked()
	return admission.Plugin{
		Name: "ClusterIPs",
		Mutate: func(ctx context.Context, r *admission.Request) error {
			svc, ok := serviceOf(r)
			if !ok || !needsClusterIP(&svc.Spec) {
				return nil
			}
			if svc.Spec.ClusterIP != "" {
				return nil
			}
			if err := singleStack(svc, prefix); err != nil {
				return err
			}
			used, err := usedAddresses(ctx, c, svc)
			if err != nil {
				return err
			}
			ip, ok := pickAddress(prefix, used)
			if !ok {
				return admission.Forbidden(r, fmt.Sprintf("all cluster IPs of the range %s are taken", prefix))
			}
			svc.Spec.ClusterIP, svc.Spec.ClusterIPs = ip.String(), []string{ip.String()}
			return nil
		},
		Validate: func(ctx context.Context, r *admission.Request) error {
			svc, ok := serviceOf(r)
			if !ok {
				return nil
			}
			for i, text := range svc.Spec.ClusterIPs {
				ip, err := netip.ParseAddr(text)
				if err != nil || heldBefore(r.Old, text) {
					continue
				}
				at := field.NewPath("spec", "clusterIPs").Index(i)
				if !prefix.Contains(ip) {
					return invalidService(svc, field.Invalid(at, text,
						"failed to allocate IP "+text+": the provided IP is not in the valid range. The range of valid IPs is "+prefix.String()))
				}
				used, err := usedAddresses(ctx, c, svc)
				if err != nil {
					return err
				}
				if used[ip] {
					return invalidService(svc, field.Invalid(at, text, "failed to allocate IP "+text+": provided IP is already allocated"))
				}
			}
			return nil
		},
	}
}

// usedAddresses are the cluster IPs of all services but svc.
func usedAddresses(ctx context.Context, c client.Client, svc *corev1.Service) (map[netip.Addr]bool, error) {
	page, err := client.For(c, kind.Service).List(ctx)
	if err != nil {
		return nil, err
	}
	used := make(map[netip.Addr]bool, len(page.Items))
	for _, other := range page.Items {
		if other.Namespace == svc.Namespace && other.Name == svc.Name {
			continue
		}
		for _, text := range other.Spec.ClusterIPs {
			if ip, err := netip.ParseAddr(text); err == nil {
				used[ip] = true
			}
		}
	}
	return used, nil
}

// serviceOf gives the Service that a request writes, with what it had before carried over.
func serviceOf(r *admission.Request) (*corev1.Service, bool) {
	svc, ok := r.Object.(*corev1.Service)
	if !ok || r.Subresource != "" || r.Verb != client.Create && r.Verb != client.Update {
		return nil, false
	}
	if old, ok := r.Old.(*corev1.Service); ok && old != nil {
		carryService(&svc.Spec, &old.Spec)
	}
	return svc, true
}

func heldBefore(old kind.Instance, ip string) bool {
	svc, ok := old.(*corev1.Service)
	return ok && svc != nil && svc.Spec.ClusterIP == ip
}

// singleStack makes the service one of the range's family, or says that it asks for more than there is.
func singleStack(svc *corev1.Service, prefix netip.Prefix) error {
	s := &svc.Spec
	spec := field.NewPath("spec")
	if deref(s.IPFamilyPolicy) == corev1.IPFamilyPolicyRequireDualStack {
		return invalidService(svc, field.Invalid(spec.Child("ipFamilyPolicy"), *s.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	if prefix.Addr().Is4() {
		if len(s.IPFamilies) > 0 && s.IPFamilies[0] == corev1.IPv6Protocol {
			return invalidService(svc, field.Invalid(spec.Child("ipFamilies").Index(0), s.IPFamilies[0], "not configured on this cluster"))
		}
		s.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
		return nil
	}
	s.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol}
	return nil
}

func invalidService(svc *corev1.Service, problems ...*field.Error) error {
	return apierrors.NewInvalid(kind.Service.Kind().GroupVersionKind().GroupKind(), svc.Name, problems)
}

// pickAddress finds a free address, from a random place on. The first address of a range names the network and the last
// of an IPv4 range is its broadcast address: neither is given.
func pickAddress(prefix netip.Prefix, used map[netip.Addr]bool) (netip.Addr, bool) {
	size := maxRange
	if host := prefix.Addr().BitLen() - prefix.Bits(); host < 20 {
		size = 1 << host
	}
	last := size // one past the last usable
	if prefix.Addr().Is4() && size > 2 {
		last--
	}
	band := min(max(16, size/16), 256)
	for _, part := range [][2]int{{band, last}, {1, min(band, last)}} {
		first, n := part[0], part[1]-part[0]
		if n <= 0 {
			continue
		}
		start := rand.IntN(n)
		for i := range n {
			if ip := nth(prefix.Addr(), first+(start+i)%n); !used[ip] {
				return ip, true
			}
		}
	}
	return netip.Addr{}, false
}

// nth is the address n after base; n is below maxRange.
func nth(base netip.Addr, n int) netip.Addr {
	if base.Is4() {
		b := base.As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
		return netip.AddrFrom4(b)
	}
	b := base.As16()
	binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])+uint64(n))
	return netip.AddrFrom16(b)
}
