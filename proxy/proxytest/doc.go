// Package proxytest proves proxies. [Run] is the suite that every proxy.Dataplane passes: real connections through it
// to real backends. [Fake] is a dataplane with real semantics in memory, which answers where a connection would go.
// [Cluster] is a client.Client over a set of objects held in memory, for what follows Services and slices but needs no
// API server; [Service] and [Slice] write such objects briefly.
//
// Whatever the dataplane, a test runs the suite in a few lines:
//
//	func TestSuite(t *testing.T) {
//		proxytest.Run(t, proxytest.Harness{New: func(t *testing.T) proxy.Dataplane { ... }, VIP: ..., Backend: ...})
//	}
//
// A dataplane of the kernel is tested in a network namespace of its own, see [InNamespace]; where the machine does not
// allow one, the test is skipped with the reason.
//
// Only tests import this package.
package proxytest
