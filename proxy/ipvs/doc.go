// Package ipvs is a dataplane in the Linux kernel's load balancer, IPVS: one virtual server per address of a Service
// port, one destination per backend. Looking one up takes the same time however many there are. It needs root
// (CAP_NET_ADMIN) and a kernel with ip_vs.
//
//	dp, err := ipvs.New(ipvs.Config{})
//
// # How it works
//
// The addresses of Services are bound to a dummy interface, so that the machine takes their packets; the interface and
// all virtual servers at its addresses belong to the dataplane. Connections are balanced round robin and forwarded
// with address translation. A backend that is no longer chosen but still listed keeps its connections with weight 0;
// one that is not listed is taken out. Client-IP affinity is IPVS' persistence. A Service without backends refuses
// connections.
//
// # Transactions
//
// IPVS has none. [Plan] is a pure function that says which steps lead from what the kernel has to what a table says;
// they are carried out one by one, those that add before those that take away, and a step that fails is the error of
// its rules alone. What the kernel has is read before each Apply, so that changes by others are repaired.
//
// # What it does not do
//
// Node ports are not offered: a rule that has one is served at its other addresses, and reported. Packets whose answers
// would not come back through this machine need masquerading, which is the business of nftables or iptables. Close
// leaves the rules; Remove takes them away. On other systems than Linux, New is an error.
package ipvs
