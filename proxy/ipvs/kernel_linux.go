package ipvs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
)

// flagPersistent is IP_VS_SVC_F_PERSISTENT of linux/ip_vs.h.
const flagPersistent = 1

// machine is the Kernel of this machine.
type machine struct {
	handle *ipvs.Handle
	dummy  string
}

func open(dummy string) (Kernel, error) {
	h, err := ipvs.New("")
	if err != nil {
		return nil, err
	}
	// The library lists nothing, and no error, where the module is missing: the kernel's own file tells.
	if _, err := os.Stat("/proc/net/ip_vs"); err != nil {
		h.Close()
		return nil, fmt.Errorf("this kernel has no ip_vs, or it is not loaded (modprobe ip_vs ip_vs_rr): %w", err)
	}
	if _, err := h.GetServices(); err != nil {
		h.Close()
		return nil, fmt.Errorf("list virtual servers: %w", err)
	}
	return &machine{h, dummy}, nil
}

func (m *machine) Close() error {
	m.handle.Close()
	return nil
}

func (m *machine) Read() (State, error) {
	var s State
	link, err := netlink.LinkByName(m.dummy)
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing):
	case err != nil:
		return s, err
	default:
		addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		if err != nil {
			return s, err
		}
		for _, a := range addrs {
			if ip, ok := netip.AddrFromSlice(a.IP); ok && !ip.Unmap().IsLinkLocalUnicast() {
				s.Addrs = append(s.Addrs, ip.Unmap())
			}
		}
	}
	services, err := m.handle.GetServices()
	if err != nil {
		return s, err
	}
	for _, svc := range services {
		v, ok := fromKernel(svc)
		if !ok {
			continue
		}
		dests, err := m.handle.GetDestinations(svc)
		if err != nil {
			return s, err
		}
		for _, d := range dests {
			if ip, ok := netip.AddrFromSlice(d.Address); ok {
				v.Backends = append(v.Backends, Destination{netip.AddrPortFrom(ip.Unmap(), d.Port), d.Weight})
			}
		}
		s.Servers = append(s.Servers, v)
	}
	return s, nil
}

func fromKernel(svc *ipvs.Service) (VirtualServer, bool) {
	ip, ok := netip.AddrFromSlice(svc.Address)
	if !ok || svc.FWMark != 0 {
		return VirtualServer{}, false
	}
	v := VirtualServer{Addr: netip.AddrPortFrom(ip.Unmap(), svc.Port)}
	for protocol, number := range protocols() {
		if number == svc.Protocol {
			v.Protocol = protocol
		}
	}
	if svc.Flags&flagPersistent != 0 {
		v.Persistence = time.Duration(svc.Timeout) * time.Second
	}
	return v, v.Protocol != ""
}

func protocols() map[corev1.Protocol]uint16 {
	return map[corev1.Protocol]uint16{
		corev1.ProtocolTCP: syscall.IPPROTO_TCP, corev1.ProtocolUDP: syscall.IPPROTO_UDP, corev1.ProtocolSCTP: syscall.IPPROTO_SCTP,
	}
}

func toKernel(v VirtualServer) *ipvs.Service {
	s := &ipvs.Service{
		Address: net.IP(v.Addr.Addr().AsSlice()), Port: v.Addr.Port(), Protocol: protocols()[v.Protocol],
		SchedName: ipvs.RoundRobin, AddressFamily: syscall.AF_INET, Netmask: 0xffffffff,
	}
	if v.Addr.Addr().Is6() {
		s.AddressFamily, s.Netmask = syscall.AF_INET6, 128
	}
	if v.Persistence > 0 {
		s.Flags, s.Timeout = flagPersistent, uint32(v.Persistence/time.Second)
	}
	return s
}

// link is the dummy interface, made if it is not there.
func (m *machine) link() (netlink.Link, error) {
	link, err := netlink.LinkByName(m.dummy)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		if err := netlink.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: m.dummy}}); err != nil {
			return nil, fmt.Errorf("add the interface %s: %w", m.dummy, err)
		}
		if link, err = netlink.LinkByName(m.dummy); err == nil {
			err = netlink.LinkSetUp(link)
		}
	}
	return link, err
}

func hostAddr(ip netip.Addr) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())}}
}

func (m *machine) Bind(ip netip.Addr) error {
	link, err := m.link()
	if err != nil {
		return err
	}
	return netlink.AddrReplace(link, hostAddr(ip))
}

func (m *machine) Unbind(ip netip.Addr) error {
	link, err := m.link()
	if err != nil {
		return err
	}
	if err := netlink.AddrDel(link, hostAddr(ip)); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		return err
	}
	return nil
}

func (m *machine) Put(v VirtualServer) error {
	svc := toKernel(v)
	put := m.handle.NewService
	if m.handle.IsServicePresent(svc) {
		put = m.handle.UpdateService
	}
	if err := put(svc); err != nil {
		return err
	}
	dests, err := m.handle.GetDestinations(svc)
	if err != nil {
		return err
	}
	var errs []error
	for _, b := range v.Backends {
		d := &ipvs.Destination{Address: b.Addr.Addr().AsSlice(), Port: b.Addr.Port(), Weight: b.Weight, AddressFamily: svc.AddressFamily, ConnectionFlags: ipvs.ConnFwdMasq}
		if i := slices.IndexFunc(dests, func(o *ipvs.Destination) bool { return same(o, b.Addr) }); i < 0 {
			errs = append(errs, m.handle.NewDestination(svc, d))
		} else if dests[i].Weight != b.Weight {
			errs = append(errs, m.handle.UpdateDestination(svc, d))
		}
	}
	for _, d := range dests {
		if !slices.ContainsFunc(v.Backends, func(b Destination) bool { return same(d, b.Addr) }) {
			errs = append(errs, m.handle.DelDestination(svc, d))
		}
	}
	return errors.Join(errs...)
}

func same(d *ipvs.Destination, a netip.AddrPort) bool {
	ip, ok := netip.AddrFromSlice(d.Address)
	return ok && ip.Unmap() == a.Addr() && d.Port == a.Port()
}

func (m *machine) Remove(v VirtualServer) error { return m.handle.DelService(toKernel(v)) }
