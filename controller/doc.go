// Package controller is a framework for reconcile loops: code that watches objects and makes the world, or other
// objects, agree with them. It knows a control plane only as a client.Client, so the same controller runs in the
// control plane's process and on another machine.
//
// # Parts
//
// An [Informer] is a typed, always current view of a kind. A [Queue] holds keys that wait to be worked on. A
// [Controller] connects them: its sources turn changes into keys, its workers call a [Reconciler] for each. A
// [Manager] owns what they share, runs all of it and elects a leader if asked to. A [Recorder] writes events. Each
// can be used alone.
//
//	m, err := controller.NewManager(c, controller.ManagerConfig{})
//	pods := controller.InformerFor(m, kind.Pod)
//	_, err = controller.New(m, "replicaset", reconciler, controller.Config{Workers: 4},
//		controller.For(kind.ReplicaSet), controller.Owns(kind.Pod, kind.ReplicaSet))
//	err = m.Run(ctx)
//
// # Ordering and concurrency
//
// An informer applies changes in revision order: it updates its view, then calls its handlers, one after another from
// one goroutine, then moves its [Informer.Revision]. Who reads the view from a handler sees at least the change that
// the handler is told of. Between two readings the view moves on; a list is consistent in itself. All reads are safe
// from any goroutine and don't wait for I/O.
//
// A key is reconciled by one worker at a time. A key added while it is reconciled runs again afterwards. Different
// keys run side by side, in the order in which they became ready. Changes to one key that come close together
// are one reconcile, so a reconciler looks at the present state and never at a change; [Trigger] tells why it ran, for
// logs and people.
//
// # Ownership
//
// Objects that an informer returns are shared with every reader in the process and are read-only: change a copy
// (kind.Type.Copy) or write through client.Typed.Mutate. The framework itself never changes one.
//
// # Faults
//
// An informer outlives every error of its stream: it continues the watch where it ended or, when the server no longer
// has that history (410), lists again and reports the difference, so that a deletion that it did not see is still
// reported, with the last state it knew. Retries back off exponentially with jitter. A reconcile that fails or panics
// is retried with back-off by key; [Terminal] errors are not. A manager that loses its lease cancels its controllers,
// waits for them and returns [ErrLeadershipLost]; a process usually ends then, or builds a new manager.
//
// # Virtual time
//
// Everything runs in a testing/synctest bubble. Package controllertest starts a control plane for a test in one line.
//
// # What it does not do
//
// It makes no writes of its own except leases and events, exposes no metrics yet, and has no webhooks: admission is
// the server's.
package controller
