// Package cri talks to a container runtime over its socket: containerd, CRI-O, cri-dockerd, or any server of CRI v1. It
// also makes such a server of any runtime.Runtime.
//
// # Use
//
//	rt, err := cri.Dial(ctx, "unix:///run/containerd/containerd.sock", cri.Config{})
//
// [Dial] returns when the runtime has answered a Version call and speaks CRI v1. The [Runtime] is a runtime.Runtime
// like any other. [Register] is the way back: it serves a runtime.Runtime on a gRPC server, so that crictl or another
// kubelet can use it.
//
// # Time-outs and errors
//
// Every call ends at the latest after Config.CallTimeout, in addition to what its context says; pulls have their own
// limit, stopping a container and running a command get their own time on top, event streams have none. Errors are
// the statuses that the runtime sent. A connection that breaks is made again by gRPC; calls fail with Unavailable
// until it stands.
//
// # Streams
//
// Exec, Attach and PortForward answer with the URL of the runtime's own streaming server; the caller connects to it, or
// redirects its client there. ExecSync needs none.
//
// # Concurrency and ownership
//
// A Runtime may be used from any goroutine. Close ends its connections and every call that is under way.
//
// # What it does not do
//
// It does not start a runtime, and does not look for one: the endpoint is given. CRI's streaming forms of the list
// calls are not used, except by Register, which refuses them.
package cri
