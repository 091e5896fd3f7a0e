// Package namespace empties Namespaces that are being deleted, and lets them go.
//
//	err := namespace.New(manager, namespace.Config{Kinds: kinds})
//
// A deleted Namespace stays as long as spec.finalizers names "kubernetes". The controller deletes what is in it, a
// collection of each namespaced kind at a time, pods with their own grace periods and never by force, then counts
// what is left. When nothing is, it takes the finalizer off through the finalize subresource, and the server removes
// the Namespace. Until then the Namespace's conditions say what is in the way: which kinds could not be deleted,
// which objects remain, and which finalizers they wait for.
//
// # Waiting
//
// Nothing tells the controller that an object of any kind has gone, and it does not watch every kind for that. It
// looks again after half of the longest grace period that is left among the pods, and otherwise after a delay that
// doubles up to Config.MaxWait. Pods are watched: the last one to go wakes it at once.
//
// # Faults
//
// A kind that refuses to be deleted or listed does not keep the others from being emptied; it is reported in a
// condition and tried again. Every step may be repeated. The server refuses new objects in a Namespace that is being
// deleted, which is what makes counting final.
package namespace
