// Package probe asks a workload how it is: over TCP, HTTP and gRPC, and counts the answers against thresholds.
//
//	result := probe.HTTP(ctx, probe.Target{Host: "10.0.0.7", Port: 8080}, probe.Request{Path: "/healthz"})
//	if counter.Add(result.OK) { // so many in a row
//		healthy = result.OK
//	}
//
// Each function asks once and returns by the end of its context; the caller gives the time-out with it. A [Counter] turns
// single answers into a verdict the way a pod's successThreshold and failureThreshold say.
//
// Nothing is kept between calls: every connection is new and closed, certificates are not verified, and redirects are
// followed within the same host only, as kubelets do. All functions may be called concurrently; a Counter belongs to one
// goroutine. When to ask, and what a verdict leads to, is the caller's business.
package probe
