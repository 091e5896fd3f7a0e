// Package clienttest is the suite that every client.Client passes, whatever carries its requests:
//
//	func TestSuite(t *testing.T) {
//		clienttest.Run(t, func(t *testing.T) client.Client { return ... })
//	}
//
// The client has to reach a server with the built-in kinds, and to be allowed everything. Each test of the suite gets a
// client from the function, works in a namespace of its own, and waits for the server with the test's context: nothing
// sleeps or polls.
package clienttest
