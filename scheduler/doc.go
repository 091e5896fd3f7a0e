// Package scheduler places units on targets: pods on nodes, or an application's own kinds on its own places. It knows a
// control plane only as a client.Client.
//
//	s, err := scheduler.New(c, plugins.Default(), scheduler.Config{})
//	err = s.Run(ctx)
//
// # A cycle
//
// One unit at a time is decided. A [Cycle] goes through the stages in this order; a plugin is any value with a Name
// that implements one or more of the stage interfaces, found by assertion:
//
//	PreFilter   once per cycle: compute what Filter needs, or find that no target can do
//	Filter      per target: does the unit fit?
//	PostFilter  only when nothing fits: make room, or give up
//	PreScore    once: compute what Score needs
//	Score       per fitting target: 0 (worst) to 100 (best), weighted and summed
//	Reserve     the unit is assumed on the best target; undone by Unreserve when a later stage fails
//	Permit      allow, reject, or wait
//	PreBind     what must be done before binding
//	Bind        tell the API server
//	PostBind    tell others
//
// Up to Reserve a cycle is a pure computation on a [Snapshot]; from Permit on it runs in a goroutine of its own, while
// the next unit is decided against a snapshot that already counts the assumed one. No target is over-committed, because
// only assumed and bound units count, and each is assumed before the next is decided.
//
// # The queue
//
// Units wait by priority, then by age. One that fits nowhere is parked with the plugins that rejected it, and comes
// back when something changed that they say could help (see [Requeuer]), not before its back-off is over.
//
// # Explanation
//
// [Scheduler.Explain] answers for any pod, pending or hypothetical, each target's verdict and score, with the plugin
// and its reason. The same sentence stands in the pod's PodScheduled condition and in its FailedScheduling event.
//
// # Own kinds
//
// A [Workload] says which kinds are placed where, and translates them: Pod gives a unit's needs in a pod's terms, Node
// a target's offer in a node's terms. All default stages then work for own kinds too.
//
// # Concurrency
//
// Stages up to Reserve are called from one goroutine; Permit and later ones from many. Explain may be called at any
// time. Objects that stages see are shared and read-only.
package scheduler
