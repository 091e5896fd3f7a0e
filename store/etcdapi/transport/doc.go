// Package transport is a gRPC server over HTTP/2 that is made for many small calls on few connections: it takes a
// fraction of the processor time of google.golang.org/grpc's server, which spends most of a small call on handing it
// from goroutine to goroutine and on making its surroundings. It serves the same service descriptions and the same
// clients.
//
// A Server is a grpc.ServiceRegistrar: generated Register functions work with it. In addition a unary method can have
// a Quick form, which gets the request's bytes and appends the answer's, and may answer on the spot.
//
// # How it works
//
// One goroutine per connection reads. A call that its Quick form answers at once never leaves it; what it answers is
// written when all that had arrived is handled, in one write. All other calls run on goroutines that are kept for the
// next call. Who has an answer appends it to the connection's buffer, and writes the buffer unless somebody is writing
// already, who then will take it along. The headers of requests are recognised by their bytes when they only refer to
// the compression table, and those of answers are two entries of it.
//
// # What it does not do
//
// No interceptors, no compression of messages (a client that compresses is told Unimplemented), no push, no HTTP/1, no
// maximum age of connections. Stats handlers and channelz don't know it.
//
// # Bounds
//
// A client can have Config.MaxStreams calls on a connection; those that it resets count until their handlers have
// returned, and those that are answered until it has taken the answer. A message may have Config.MaxMessageBytes, headers
// 64 KiB, and 64 MiB of messages may wait for their ends or their handlers. A stream whose client does not read blocks its
// handler in SendMsg; a connection whose client does not read is not read from either. The peer's flow control windows
// are obeyed, and what it sends is bounded by this side's.
//
// A client has ten seconds for TLS and HTTP/2's preface. One that does not take 64 KiB within 30 seconds is given up. One
// that pings more often than every five seconds while it is sent no answers is told too_many_pings, as etcd does. One that
// is silent for two hours is asked by a ping, and has 20 seconds; before that TCP's probes, which package net switches on,
// find a machine that is gone. Who breaks HTTP/2's rules gets a GOAWAY that says which, and the connection ends.
//
// # The end
//
// Shutdown first tells clients to open their calls elsewhere, and with a ping learns when each of them knows; what it has
// opened until then is served. When a connection's calls have ended it is closed by half, and the client hangs up: so
// nothing that is on its way to the client is lost.
package transport
