// Package fieldmanager keeps metadata.managedFields: who wrote which field of an object, and when. It is what server-side
// apply decides by.
//
//	pods := kind.Pod.Kind()
//	m := fieldmanager.New(func() []*kind.Kind { return []*kind.Kind{pods} })
//	m.Update(ctx, pods, "", live, pod, "kubectl-edit")                            // after a create, an update or a patch
//	merged, err := m.Apply(ctx, pods, "", live, configuration, "deployer", false) // server-side apply
//
// The rules are upstream's (KEP-555, KEP-2156) and so is most of the code: apimachinery's managedfields over
// structured-merge-diff. What is ours is the way there: schemas come from package openapi when a kind is first written,
// and the most common writes take a way of their own with the same outcome (see [Manager.Update]).
//
// A [Manager] belongs to one kind. It is safe for concurrent use, holds nothing but what it knows of the kind's type,
// and never changes the live object.
//
// It does not look at what a write is allowed to do, it stores nothing, and does not know other objects.
package fieldmanager
