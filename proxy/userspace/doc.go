// Package userspace is a dataplane without privilege: it listens on the addresses of Services itself, accepts
// connections, dials a backend for each and copies both ways. It is what the embedded network of a control plane in one
// process uses, where Services live in 127.0.0.0/8; it serves TCP and UDP on any address that the process may bind.
//
// # Balancing
//
// Connections go round the chosen backends in turn (or at random, see [Config]). When dialing a backend fails, the next
// is tried before the client notices anything, until each was tried once: that a backend goes away between two tables
// costs no request. With client-IP affinity a client stays with its backend until the time-out since its last new
// connection, or until the backend is no longer chosen. With no backend at all a connection is reset at once.
//
// # Changes
//
// A listener lives as long as some rule has its address: a change of endpoints never closes one. A backend that is no
// longer chosen gets no new connection once Apply has returned. Its connections go on while the table still lists it (a
// pod that terminates); when it is listed no more they have Config.Drain left, then both sides are reset. UDP sessions
// are dropped together with their backend: their next datagram goes to another.
//
// # Failures
//
// An address that is taken, that the machine does not have, or a port below the unprivileged limit is a
// *proxy.RuleError of Apply; all other rules are served. The next Apply tries again.
//
// A connection's end is passed on as it came: the end of one direction as a half-close, a reset as a reset. Connections
// and UDP sessions are bounded in number: over the bound, connections wait in the kernel's queue and datagrams of new
// clients are dropped.
//
// # Concurrency
//
// Apply and Close may be called from any goroutine. Close ends all connections and returns when every goroutine has.
package userspace
