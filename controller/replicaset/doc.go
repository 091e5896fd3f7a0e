// Package replicaset keeps the number of pods that each ReplicaSet asks for.
//
//	err := replicaset.New(manager, replicaset.Config{})
//
// A reconcile counts the pods that the ReplicaSet controls (or may adopt: orphans that its selector matches), creates
// what is missing, a few at first and twice as many each time it works, or deletes what is too many, the least useful
// first. Then it writes the status. What to do is decided by pure functions on those pods; see plan.go.
//
// After a write a reconcile waits until the informer shows it, so that no decision is made on a view that lacks the
// controller's own pods. Pods that end (Succeeded, Failed) or are being deleted don't count and are replaced.
package replicaset
