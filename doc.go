// Package keelson assembles a whole control plane, and nodes if it is to have some, inside one process.
//
//	cluster, err := keelson.New(keelson.Config{})       // in memory, no socket, nothing to install
//	go cluster.Run(ctx)
//	pods := client.For(cluster.Client(), kind.Pod)      // a request waits until the cluster is ready
//
// The zero [Config] is what a unit test wants: store, API server, built-in controllers and scheduler in memory. Data
// on disk (DataDir), an HTTPS address (Listen), nodes (Nodes), a Service proxy (Proxy) and DNS are a field each, and
// Without leaves parts out. Whoever needs another shape imports the packages that this one is made of: it uses
// nothing that they don't export.
//
// # Lifetime
//
// New checks the configuration and starts nothing. [Cluster.Run] opens the store, starts everything in order, and
// returns when ctx ends and all of it has stopped, in the reverse order: nodes, proxy and controllers first, then the
// API server, then the store. The first part that fails ends the others, and Run returns its error. Pods are
// processes of their own and go on, so that the next Run adopts them, unless Config.StopPods is set. A Cluster runs
// once; for a restart make another with the same Config.
//
// # Data
//
// DataDir holds the store (store/), the certificate authority and the administrator's certificate (pki/), the reserved
// network (network) and a directory for each node (nodes/NAME). Removing it removes the cluster.
//
// # Several control planes
//
// With [Config.Member] control planes on several machines share one replicated store: each is a member of it, serves the
// whole API, and sees at once what was written at another. A majority of them must be reachable for writes. One at a
// time runs the controllers and the scheduler; when it ends or is cut off, another takes over. They use one certificate
// authority, which the first of them gives and the store keeps, so that a kubeconfig of one is good at all.
// [Cluster.Store] adds, removes and replaces members, as package store describes it.
//
// # The embedded network
//
// On Linux, with [Config.EmbeddedNetwork], a cluster reserves one 127.N.0.0/16 of this machine's loopback for itself:
// pods of its i-th node get addresses in 127.N.(16+i).0/24, Services in 127.N.240.0/20. It is an emulation for
// processes on one machine: it needs no privilege, isolates nothing, and other machines can't reach it. Two clusters
// on one machine get different N. Elsewhere than on Linux, pods share 127.0.0.1.
//
// # Concurrency
//
// Any number of clusters live in one process; there is no package-level state. All methods of a [Cluster] are safe for
// concurrent use.
package keelson
