// Package dns answers names of Services: an authoritative server for the cluster's domain, and a forwarder for the rest
// if it is given upstreams.
//
//	s, err := dns.New(c, dns.Config{Domain: "cluster.local", Addr: "127.0.0.1:0"})
//	err = s.Run(ctx)
//
// # Names
//
// The names follow the Kubernetes DNS-based service discovery specification, version 1.1.0. Under svc.cluster.local:
//
//	name.ns                  A, AAAA   the cluster IPs, or of a headless Service its endpoints
//	host.name.ns             A, AAAA   one endpoint of a headless Service; host is its hostname, or its address with dashes
//	_port._tcp.name.ns       SRV       each named port; a headless Service has one record per endpoint
//	name.ns                  CNAME     an ExternalName Service's name
//
// and a-b-c-d.ns.pod.cluster.local is the address a.b.c.d, made from the name without asking whether there is such a
// pod. The addresses of Services, and of endpoints of headless ones, have PTR records. Endpoints that are not ready
// are left out unless the Service publishes them.
//
// # Answers
//
// A name that does not exist is NXDOMAIN, one that has no record of the asked type is an empty answer; both carry the
// zone's SOA, whose minimum is the time for which that may be remembered (RFC 2308). Names of other zones go to the
// upstreams, tried in order, or are REFUSED without any. An answer too long for the asker's UDP buffer (512 octets, or
// what EDNS says) is truncated, so that it asks again over TCP. Anything but a query of class IN is NOTIMP or REFUSED.
// Until the first snapshot of the cluster has come, names of the zone are SERVFAIL rather than wrongly NXDOMAIN.
//
// # Parts
//
// [Build] is a pure function from objects to [Records], an immutable value; [Records.Answer] answers from it.
// [Server] is the shell: informers, sockets, forwarding. Each change is answered from as soon as it has been seen;
// changes that come close together are built together. Zone transfers, DNSSEC and caching of upstream answers are not
// offered.
package dns
