// Package storetest is the suite that every form of a store must pass: semantics against tables and against a
// deliberately naive model, watches, leases, compaction, snapshots, and linearizability of concurrent clients.
//
//	func TestMine(t *testing.T) { storetest.Run(t, storetest.Memory) }
//
// Tests that wait for time to pass run in a testing/synctest bubble: the opener is called inside it. Each test opens
// its own store, through [Open], which closes it when the test ends. Only tests import this package.
package storetest
