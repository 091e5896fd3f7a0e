// Package iptables is a dataplane in the Linux kernel for machines that are still run with iptables: the rules are
// those of package nftables in iptables' words. It needs root (CAP_NET_ADMIN) and the iptables and iptables-restore
// programs, for IPv6 Services ip6tables as well. Where nftables works, prefer it: here looking a Service up takes
// longer the more Services there are.
//
//	dp, err := iptables.New(iptables.Config{})
//
// # Transactions
//
// The whole ruleset is a text, made by a pure function, that iptables-restore puts in place. Each of the tables nat and
// filter changes atomically; for a moment one may be new and the other old. An unchanged text is not written again.
// All chains but the kernel's own begin with KLN-, and chains with that name belong to the dataplane.
//
// # What it offers
//
// Cluster IPs, external addresses and node ports over TCP, UDP and SCTP; client-IP affinity through the match module
// recent, whose lists outlive rewriting. Connections to node ports and external addresses are masqueraded unless the
// rule is restricted to local backends, as are those that a backend makes to itself. Connections without a backend
// are rejected. Connections survive changes in conntrack.
//
// # Lifetime
//
// Close leaves the rules, so that traffic survives the agent; Remove takes them away. On other systems than Linux, New
// is an error.
package iptables
