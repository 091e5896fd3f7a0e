// Package crd serves CustomResourceDefinitions of apiextensions.k8s.io/v1: kinds that are described at run time, by objects.
//
//	kinds := crd.New(crd.Config{})
//	s, err := apiserver.New(st, apiserver.Config{
//		Kinds:       append(builtin.Kinds(), crd.Type().Kind()),
//		Definitions: &apiserver.Definitions{Kind: crd.Type().Kind(), Kinds: kinds.Of, Same: kinds.Same},
//	})
//	c, err := crd.NewController(s.Client(authn.System("crd")), kinds, nil)
//	go c.Run(ctx)
//
// # Parts
//
// [Type] is the kind of definitions: its rules and texts are those of kube-apiserver. [Kinds] makes kind.Kind values of a definition,
// without a Go type, which the server treats like any others: pruning, defaulting, validation by schema and by rules in CEL,
// subresources, columns, selectable fields, conversion. [Controller] accepts names and establishes definitions, and empties
// those that are deleted.
//
// # Order
//
// A definition is served from the revision on at which its Established condition became true: whoever has seen the condition finds the
// resource. When its spec changes, watches of the resource end and objects are read again by the new rules.
//
// # Validation
//
// An object is held to the schema level by level. On an update, what has not changed is not held to it, so that a schema can
// be tightened over objects that do not fit it. Rules in CEL have the cost limits of Kubernetes.
//
// # What it does not do
//
// v1beta1 definitions are not served. Under the conversion None objects keep, in the store, only what the stored version's schema knows.
package crd
