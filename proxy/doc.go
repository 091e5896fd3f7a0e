// Package proxy makes Services reachable: it turns Services and EndpointSlices into a [Table] of rules and hands that
// table to a [Dataplane], which makes connections to a Service arrive at a backend.
//
//	dp, err := userspace.New(userspace.Config{})
//	p, err := proxy.New(c, dp, proxy.Config{NodeName: "node-a"})
//	err = p.Run(ctx)
//
// # The parts
//
// [BuildTable] is a pure function from objects to a Table. A Table is a value: two are compared with [Diff], printed,
// kept. A Dataplane knows no objects; it gets whole tables and carries each out as one transaction. [Proxy] is the
// shell between: informers tell it which Services changed, it rebuilds the rules of those, and applies the new table
// once per burst of changes. Nothing polls.
//
// Dataplanes are packages below this one: userspace (connections are accepted and dialed here; no privilege), nftables,
// iptables and ipvs (the kernel forwards; root on Linux). Package proxytest is the suite that each of them passes, with
// a fake that answers where a connection would go. Packages dns and ingress serve names and HTTP routes from the same
// objects.
//
// # What becomes a rule
//
// Each port of a Service gives one rule per address family. Headless and ExternalName Services give none, nor do those
// that carry the label service.kubernetes.io/service-proxy-name, which belong to another proxy. A rule's backends are
// the endpoints of all slices of the Service; connections to cluster IPs choose among Internal, connections to node
// ports, external IPs and load-balancer IPs among External. Ready endpoints are chosen; when a Service has none, those
// that still serve while they terminate (KEP-1669). The Local policies keep to endpoints of this node (KEP-2086), and
// topology hints to endpoints for this node or zone when every ready endpoint carries hints (KEP-2433, KEP-3015).
//
// # Errors
//
// Apply reports what could not be done to a rule as a [RuleError] that names the service port; the other rules hold all
// the same. The proxy tells Config.Report about each, once per change of the message, and tries again with a back-off.
//
// # Ordering and ownership
//
// Tables are applied one at a time and in order. The dataplane stays its creator's: Run does not close it, so that
// kernel rules outlive the agent. Tables and rules are shared and must not be changed once they are built.
//
// # What it does not do
//
// loadBalancerSourceRanges, health-check node ports and SCTP in dataplanes other than the kernel's are not handled.
package proxy
