// Package runtime says what a container runtime is for Keelson: CRI v1, exactly as k8s.io/cri-api declares it in Go.
//
// A [Runtime] is the pair of interfaces RuntimeService and ImageManagerService of k8s.io/cri-api/pkg/apis. Nothing is
// added to them and nothing is translated, so a fake, a runtime in this process and containerd behind its socket are
// interchangeable, and whoever knows CRI knows this package. Import it under an alias (kruntime), because Go and
// apimachinery have a runtime of their own.
//
// Implementations:
//
//   - runtime/process: pods as plain OS processes, the embedded default;
//   - runtime/cri: a remote runtime over its socket;
//   - runtime/runtimetest: a fake with faults, and the suite that every implementation passes.
//
// What a runtime can do beyond CRI's methods is a small interface, found by assertion. [Streamer] is the only one:
// exec, attach and port-forward carried by this process instead of an URL that somebody else serves.
//
// # Errors
//
// Errors are gRPC statuses, also when no gRPC is involved: NotFound for an unknown sandbox or container, AlreadyExists
// for a second sandbox or container of the same metadata, InvalidArgument for a config that can't work,
// FailedPrecondition for a call in the wrong state, DeadlineExceeded for an exec that ran out of time. Test them with
// google.golang.org/grpc/status. A command that ran and ended with a code other than zero is an [*ExitError], found by
// errors.As, whether it came from ExecSync or from a Streamer.
//
// # Ordering
//
// Once a call has returned, lists and statuses show its effect. Events come after the state that they report can be
// read, in order within one container; between containers there is no order. Stopping and removing are idempotent:
// what is gone already counts as stopped and removed.
//
// # Concurrency
//
// All methods may be called from any goroutine. Values that a runtime returns belong to the caller; values handed to a
// runtime are not changed by it and may be reused once the call has returned.
//
// # For implementers
//
// [Feed] turns state changes into GetContainerEvents streams, [MatchSandbox] and [MatchContainer] are CRI's filters.
//
// # What it does not do
//
// It starts nothing, holds no registry of runtimes, and knows nothing about pods of the Kubernetes API: turning those
// into sandboxes and containers is the kubelet's work.
package runtime
