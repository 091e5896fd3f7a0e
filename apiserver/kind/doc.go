// Package kind says what a kind is: its identity, its Go type, how it is encoded and copied, and what a server
// must know to serve it. It is the leaf that servers, clients and controllers share, and it knows none of them.
//
// A [Kind] is a value. Built-in kinds ([Pod], [Deployment], ...) are described here without behaviour, which is
// all a client needs; package builtin adds defaulting, validation and columns for whoever assembles a server. An
// application describes its own kinds with [Define], from a spec struct and a status struct, or with [Describe],
// from any struct that embeds metav1.TypeMeta and metav1.ObjectMeta. No code is generated and nothing is
// registered globally: a [Set] of kinds is passed to who needs one.
//
// # Typed and plain
//
// Type[T] is a thin typed face over *Kind. Code that works with any kind (a server, a cache) takes *Kind and
// [Instance]; code that works with one kind takes Type[T] and gets T without assertions.
//
// # Versions
//
// Each version of a kind is a Kind. One is stored; the others have a [Hub], which names it and converts. A server serves each
// version by its own description, and fills what a version's strategy leaves out from the stored one's.
//
// # Ownership
//
// An Instance that came from a server in the same process is shared by all its readers and must not be changed:
// copy it first with [Kind.Copy] or [Type.Copy]. A Kind must not be changed after it has been given to a Set.
//
// # Encodings
//
// [Kind.Encode] gives the form that is stored: for the built-in kinds the protobuf envelope that kube-apiserver
// writes to etcd, for the others JSON. [Kind.Decode] reads both. JSON is the encoding of k8s.io/apimachinery:
// field names are case-sensitive, and strict decoding reports unknown and duplicate fields.
package kind
