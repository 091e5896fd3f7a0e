// Package runtimetest has what tests of and with container runtimes need: a fake with real semantics, and the suite
// that every implementation of runtime.Runtime passes.
//
// # The fake
//
// [New] returns a [Runtime] whose sandboxes and containers live in memory. It keeps CRI's state machine (created,
// running, exited), gives each pod an address, refuses duplicates, publishes events, and answers with the gRPC codes
// of a real runtime. What a process does is a [Behavior], chosen by Config.Behave from image, command and attempt.
// The default, [Script], understands the few shell commands that test pods are made of ("sleep 5; exit 1", "trap ”
// TERM; sleep 1000"); whatever it does not know runs until it is stopped. [Runtime.Exit] and [Runtime.ExitPod] end
// processes from outside.
//
// Time is the time package's: inside a synctest bubble an hour of sleep takes no time. The fake starts no goroutine
// that outlives a call, opens no socket, and writes a file only when a behavior has output and the pod has a log
// directory.
//
// # Faults
//
// Config.Fault, or [Runtime.SetFault] later, is asked before each call what shall go wrong with it: a delay, a hang
// until the call's context ends, an error, or a lie (the work is done and an error is returned all the same).
// [Runtime.Restart] breaks event streams and, if told so, forgets everything. [Runtime.Faulted] counts spoiled calls,
// so that a test can assert that its fault happened.
//
// # The suite
//
// [Run] holds an implementation to the contract of package runtime: states and times, idempotence, error codes,
// stopping with and without patience, exec, logs, events, images. It runs real commands (sh, sleep, echo), no more
// than Script understands, and removes every sandbox that it makes. It takes a few seconds, as one test waits for a
// process that ignores SIGTERM.
//
// # Concurrency
//
// Everything may be called from any goroutine. Config's functions are called without locks held, and may call the fake.
package runtimetest
