// Package client is the contract between a control plane and everything that talks to it: controllers, schedulers,
// node agents, proxies and applications. It holds the interface, typed helpers over it, and nothing of the server.
//
// [Client] has two methods, because a request is a value: [Request] says verb, kind, name and options, and every
// transport (the in-process one of package apiserver, HTTPS in package https, a wrapper that injects faults) carries
// the same value. People use the typed face:
//
//	pods := client.For(c, kind.Pod)
//	pod, err := pods.Get(ctx, "default", "web")
//	_, err = pods.Mutate(ctx, "default", "web", func(p *corev1.Pod) error { p.Labels["seen"] = "yes"; return nil })
//
// # Ownership
//
// Objects that a client returns may be shared with every other reader in the process. They are read-only: change a
// copy (Type.Copy), or use [Typed.Mutate], which copies. Objects given to a client stay the caller's.
//
// # Errors
//
// Errors are Kubernetes API statuses (k8s.io/apimachinery/pkg/api/errors: IsNotFound, IsConflict, ...) whatever the
// transport. A request that could not be sent is a plain error.
//
// # Watching
//
// [Watcher] is pulled. A watcher that fell behind ends with a 410 error (apierrors.IsResourceExpired or IsGone); its
// reader lists again. [Open] gives a snapshot and a watcher that continue each other, from whatever client; clients
// in the server's process share the server's objects with it.
package client
