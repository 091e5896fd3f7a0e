// Package controllertest runs a control plane inside a test: a store in memory, an API server with the built-in kinds
// and the test's own, and a manager to add controllers to.
//
//	func TestGreeter(t *testing.T) {
//		cp := controllertest.New(t)
//		require.NoError(t, greeter.New(cp.Manager, greeter.Config{}))
//		cp.Start()
//		cp.Apply(manifest)
//		cp.Idle()
//		got := controllertest.Get(cp, kind.ConfigMap, "default", "hello")
//
// Nothing sleeps and nothing polls: [ControlPlane.Idle] returns when every controller has done all there is to do, and
// [WaitFor] watches. A small test takes milliseconds.
//
// # Virtual time
//
// Everything works in a testing/synctest bubble: call New inside synctest.Test. Then time passes only when everything
// waits, so that a retry or a time-out of an hour takes no time at all.
//
// # Faults
//
// The manager's client, and only that, goes through [Faults]: errors, conflicts, delays, lost replies and ended watches
// by verb and kind. The test's own requests through ControlPlane.Client are never disturbed.
//
// # Cleaning up
//
// The end of the test ends everything and waits for it: the manager, what was given to Run, the server, the store. A
// part that does not end within a minute fails the test with the stacks of all goroutines. The server looks for
// objects in its caches that a controller has changed in place, and fails the test for each.
//
// # Concurrency
//
// The methods belong to the test's goroutine. Any number of control planes may live in one process, in parallel tests.
package controllertest
