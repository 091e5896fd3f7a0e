// Package logtest has the suite that every log store passes, the default one and those that a user puts in its place:
//
//	func TestLogStore(t *testing.T) { logtest.RunLogStore(t, mylog.Open) }
//
// It asks for what [store.LogStore] says, as far as a process can see it: what is there after closing and opening again.
// What is there after a power cut, the crash images in the tests of packages store and wal show.
package logtest
