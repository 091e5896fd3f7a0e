// Package nftables is a dataplane in the Linux kernel: connections to Services are sent to a backend by nftables' NAT,
// and no packet of theirs passes through this process. It needs root (CAP_NET_ADMIN) and the nft program.
//
// Everything stands in one table of family inet, named keelson unless Config says otherwise. Two maps per family lead
// from address, protocol and port to a chain per Service port (cluster IPs and node ports), which chooses among one
// chain per backend; Services without backends stand in a third map, whose connections are rejected. Lookup takes the
// same time however many Services there are.
//
//	dp, err := nftables.New(nftables.Config{})
//
// # Transactions
//
// Each Apply is one nft transaction of the difference to what the kernel has: chains of Services that did not change
// are not touched. The first Apply, and one after a failure, replaces the whole table in one transaction. Connections
// live in conntrack and survive all of that; a backend that has left gets no new ones.
//
// # Addresses
//
// Connections to node ports and external addresses are masqueraded, unless the rule is restricted to local backends, as
// are those that a backend makes to itself through its Service; with Config.PodCIDRs also those to cluster IPs from
// outside of the pods. Forwarding has to be enabled on the machine (net.ipv4.ip_forward).
//
// # Affinity
//
// Each backend has a set of the clients that stay with it, whose entries time out in the kernel. Replacing the whole
// table forgets them.
//
// # Lifetime
//
// Close leaves the rules, so that traffic survives the agent; Remove takes them away. Conntrack entries of UDP flows to
// removed backends are left to time out. On other systems than Linux, New is an error.
package nftables
