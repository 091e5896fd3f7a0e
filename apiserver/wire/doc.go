// Package wire is the HTTP front of a control plane: it turns the Kubernetes API as it is on the wire into requests to a
// client.Client, and answers back. It knows nothing of storage, admission or caches, so the same front serves any client,
// a fake one in a test included.
//
//	h, err := wire.New(wire.Config{Kinds: kinds, Client: server.Client, Authenticator: who, Authorizer: may})
//	http.Serve(listener, h)
//
// # What it does
//
// Paths, parameters and bodies become a client.Request; content is negotiated (JSON, YAML, protobuf, tables, metadata
// alone); watches become streams; discovery and OpenAPI are made from the kinds; errors are always a metav1.Status. A
// request body may have 3 MiB.
//
// # Who is asked
//
// The Authenticator says who a request is from. Requests for resources are authorized by the client they are given
// to, and not a second time here. Authorizer is asked for what never reaches a client: paths that are no resources
// (/version, discovery, /openapi, /healthz), impersonation, and the pod subresources that node agents answer.
// Health and version may be read by anybody whom the Authorizer does not refuse.
//
// # Lifetime
//
// A [Handler] starts no goroutine of its own. A watch lives as long as its request and the client's watcher: a client
// that ends its watchers on shutdown ends the streams. Objects from the client are shared and never changed.
package wire
