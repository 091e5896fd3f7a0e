// Package memnet is a network inside the process: a [Listener] that is dialled directly, and connections that are two
// buffers.
//
//	l := memnet.Listen("apiserver")
//	go server.Serve(l)
//	client := http.Client{Transport: &http.Transport{DialContext: l.DialContext}}
//	defer l.Close() // ends every connection
//
// A write never blocks: what the peer has not read is buffered without bound, so that a stalled peer holds up nobody.
// That is what net.Pipe lacks: under it a writer waits for its reader, with whatever locks it holds. Reads block
// until there are bytes, the peer has closed (io.EOF after the last byte), or the deadline has passed
// (os.ErrDeadlineExceeded). Bytes arrive in order, once.
//
// All methods may be called from any goroutine. Nothing here starts one. Waiting uses channels and the time package,
// so that everything works in a testing/synctest bubble; a listener and its connections belong to the bubble they
// were made in.
//
// There are no datagrams, no names to resolve and no limits.
package memnet
