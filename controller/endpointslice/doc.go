// Package endpointslice keeps the EndpointSlices of Services that have a selector, and the older Endpoints object of
// the same name.
//
//	err := endpointslice.New(manager, endpointslice.Config{})
//
// A pod is an endpoint of a Service when the selector matches it, it has an address and it has not ended. It is ready
// when it passes its readiness checks and is not being deleted; a deleted pod stops being ready with the write that
// sets its deletion timestamp, and stays as a terminating endpoint, serving as long as it says so, until it is gone.
// Pods whose named ports resolve to different numbers are in different slices, as are address families.
//
// # Writes
//
// The functions in plan.go decide, from a Service, its pods and its slices, which slices change; a slice that already
// says the right thing is not written. New endpoints go first to slices that change anyway, then to one that has room
// for all of them, then to new slices. A Service without endpoints has one empty slice for each address family, as
// upstream. A reconcile waits until the informer shows what it wrote, so that it does not create a slice twice.
//
// Services without a selector, and slices that others manage, are left alone. When a Service goes, its slices and
// Endpoints go with it, with or without garbage collection.
//
// # What it does not do
//
// It gives no topology hints and no last-change-trigger-time annotation.
package endpointslice
