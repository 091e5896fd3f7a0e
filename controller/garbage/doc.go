// Package garbage deletes objects whose owners are gone, and carries out what a deletion asks for its dependents:
// metadata.ownerReferences.
//
//	err := garbage.New(manager, garbage.Config{Kinds: kinds})
//
// # Rules
//
// An owner is known by kind, name and uid, in the dependent's own namespace or cluster-wide: one in another namespace
// does not exist. An object all of whose owners are gone is deleted in the background; while one is left, the
// references to those that are gone are removed. An object deleted in the foreground (finalizer foregroundDeletion)
// has its dependents deleted first, in the foreground too if they have dependents, and goes when those that say
// blockOwnerDeletion have gone. One with the finalizer orphan goes after the references to it have been removed.
// Objects that own one another in a circle don't wait for one another. References to kinds that are not in
// Config.Kinds, and from a cluster-wide object to a namespaced one, can't be judged: such an owner counts as
// existing. Source: Kubernetes documentation, Garbage Collection.
//
// # How it is sure
//
// There is an informer for each kind, which in the server's process share the server's objects; indexes over them are
// the only graph. A view may be late, so before anything is deleted the server is asked for the object and for each
// owner that seems absent, and the deletion names uid and resourceVersion. Before a finalizer is removed all views
// have reached the revision of the object that has it, so that no dependent is overlooked. Owners known to be absent
// are remembered, up to a bound: a uid does not come back.
//
// # What it does not do
//
// Events are not looked at: they own nothing and expire by themselves. Kinds that are added to a server later are not
// followed.
package garbage
