package dns

import (
	"cmp"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Zone is what Build needs to know beside objects. The zero values are those of Config.
type Zone struct {
	Domain string // such as cluster.local; empty means cluster.local
	TTL    uint32 // seconds that answers may be remembered, also negative ones; 0 means 5
	Serial uint32 // of the SOA record
}

const defaultTTL = 5

func (z *Zone) complete() {
	z.Domain = normal(cmp.Or(z.Domain, "cluster.local"))
	z.TTL = cmp.Or(z.TTL, defaultTTL)
}

// normal is a name in the form that records are kept under.
func normal(name string) string { return strings.ToLower(dns.Fqdn(name)) }

// Records is everything the zone says at one time. It is immutable and safe for concurrent use.
type Records struct {
	zone    Zone
	names   map[string]*node        // every existing name, the empty ones between them too
	reverse map[netip.Addr][]string // names of an address
}

// node is one name.
type node struct {
	addrs []netip.Addr
	srv   []service
	cname string
}

type service struct {
	target string
	port   uint16
}

// Build makes the records of a cluster's Services and slices. It is pure and keeps nothing of its arguments.
func Build(zone Zone, services []*corev1.Service, endpointSlices []*discoveryv1.EndpointSlice) *Records {
	zone.complete()
	r := &Records{zone: zone, names: map[string]*node{}, reverse: map[netip.Addr][]string{}}
	r.at(zone.Domain)
	r.at("dns-version." + zone.Domain)
	r.at("svc." + zone.Domain)
	r.at("pod." + zone.Domain)
	type key struct{ namespace, name string }
	of := map[key][]*discoveryv1.EndpointSlice{}
	for _, s := range endpointSlices {
		k := key{s.Namespace, s.Labels[discoveryv1.LabelServiceName]}
		of[k] = append(of[k], s)
	}
	for _, svc := range services {
		name := normal(svc.Name + "." + svc.Namespace + ".svc." + zone.Domain)
		switch {
		case svc.Spec.Type == corev1.ServiceTypeExternalName:
			if _, valid := dns.IsDomainName(svc.Spec.ExternalName); valid && svc.Spec.ExternalName != "" {
				r.at(name).cname = normal(svc.Spec.ExternalName)
			}
		case svc.Spec.ClusterIP == corev1.ClusterIPNone:
			r.addHeadless(name, svc, of[key{svc.Namespace, svc.Name}])
		default:
			r.addService(name, svc)
		}
	}
	r.sort()
	return r
}

// at is the node of a name, made together with all names above it in the zone: those exist too (RFC 8020).
func (r *Records) at(name string) *node {
	if n := r.names[name]; n != nil {
		return n
	}
	n := &node{}
	r.names[name] = n
	if i := strings.IndexByte(name, '.'); name != r.zone.Domain && i >= 0 && i+1 < len(name) {
		r.at(name[i+1:])
	}
	return n
}

func (r *Records) addService(name string, svc *corev1.Service) {
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{svc.Spec.ClusterIP}
	}
	for _, s := range ips {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			continue // not allocated yet
		}
		n := r.at(name)
		n.addrs = append(n.addrs, ip)
		r.reverse[ip] = append(r.reverse[ip], name)
	}
	if r.names[name] == nil {
		return
	}
	for _, p := range svc.Spec.Ports {
		if n := r.port(name, p.Name, p.Protocol); n != nil {
			n.srv = append(n.srv, service{name, uint16(p.Port)})
		}
	}
}

// port is the node of a named port's SRV records.
func (r *Records) port(name, port string, protocol corev1.Protocol) *node {
	if port == "" {
		return nil
	}
	return r.at("_" + strings.ToLower(port) + "._" + strings.ToLower(string(cmp.Or(protocol, corev1.ProtocolTCP))) + "." + name)
}

func (r *Records) addHeadless(name string, svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice) {
	r.at(name)
	for _, s := range endpointSlices {
		if s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		for _, ep := range s.Endpoints {
			if ep.Conditions.Ready != nil && !*ep.Conditions.Ready && !svc.Spec.PublishNotReadyAddresses {
				continue
			}
			for _, a := range ep.Addresses {
				ip, err := netip.ParseAddr(a)
				if err != nil {
					continue
				}
				host := label(ip)
				if ep.Hostname != nil && *ep.Hostname != "" {
					host = strings.ToLower(*ep.Hostname)
				}
				target := host + "." + name
				r.at(name).addrs = append(r.at(name).addrs, ip)
				r.at(target).addrs = append(r.at(target).addrs, ip)
				r.reverse[ip] = append(r.reverse[ip], target)
				for _, p := range s.Ports {
					if p.Name == nil || p.Port == nil {
						continue
					}
					protocol := corev1.ProtocolTCP
					if p.Protocol != nil {
						protocol = *p.Protocol
					}
					if n := r.port(name, *p.Name, protocol); n != nil {
						n.srv = append(n.srv, service{target, uint16(*p.Port)})
					}
				}
			}
		}
	}
}

// label is an address as one label of a name.
func label(ip netip.Addr) string {
	if ip.Is4() {
		return strings.ReplaceAll(ip.String(), ".", "-")
	}
	return strings.ReplaceAll(ip.StringExpanded(), ":", "-")
}

func (r *Records) sort() {
	for _, n := range r.names {
		slices.SortFunc(n.addrs, netip.Addr.Compare)
		n.addrs = slices.Compact(n.addrs)
		slices.SortFunc(n.srv, func(a, b service) int {
			return cmp.Or(strings.Compare(a.target, b.target), cmp.Compare(a.port, b.port))
		})
		n.srv = slices.Compact(n.srv)
	}
	for ip, names := range r.reverse {
		slices.Sort(names)
		r.reverse[ip] = slices.Compact(names)
	}
}

// podAddr reads a-b-c-d.ns.pod.DOMAIN; below is the name in front of the domain, without its dot.
func podAddr(below string) (netip.Addr, bool) {
	labels := strings.Split(below, ".")
	if len(labels) != 3 || labels[2] != "pod" || labels[1] == "" {
		return netip.Addr{}, false
	}
	if ip, err := netip.ParseAddr(strings.ReplaceAll(labels[0], "-", ".")); err == nil && ip.Is4() {
		return ip, true
	}
	ip, err := netip.ParseAddr(strings.ReplaceAll(labels[0], "-", ":"))
	return ip, err == nil && ip.Is6() && ip.Zone() == ""
}

// arpaAddr reads the name of an address in the reverse zones.
func arpaAddr(name string) (netip.Addr, bool) {
	if s, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		labels := strings.Split(s, ".")
		slices.Reverse(labels)
		ip, err := netip.ParseAddr(strings.Join(labels, "."))
		return ip, err == nil && ip.Is4()
	}
	s, ok := strings.CutSuffix(name, ".ip6.arpa.")
	if !ok {
		return netip.Addr{}, false
	}
	labels := strings.Split(s, ".")
	slices.Reverse(labels)
	for _, l := range labels {
		if len(l) != 1 {
			return netip.Addr{}, false
		}
	}
	raw, err := hex.DecodeString(strings.Join(labels, ""))
	if err != nil || len(raw) != 16 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16([16]byte(raw)), true
}

// Size is how many names exist, for introspection.
func (r *Records) Size() int { return len(r.names) }

// String lists what the zone says, one record per line, sorted: for tests and people.
func (r *Records) String() string {
	var lines []string
	for name, n := range r.names {
		for _, a := range n.addrs {
			lines = append(lines, name+" "+dns.TypeToString[addrType(a)]+" "+a.String())
		}
		for _, s := range n.srv {
			lines = append(lines, name+" SRV "+strconv.Itoa(int(s.port))+" "+s.target)
		}
		if n.cname != "" {
			lines = append(lines, name+" CNAME "+n.cname)
		}
	}
	for ip, names := range r.reverse {
		for _, n := range names {
			lines = append(lines, ip.String()+" PTR "+n)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

func addrType(a netip.Addr) uint16 {
	if a.Is4() {
		return dns.TypeA
	}
	return dns.TypeAAAA
}
