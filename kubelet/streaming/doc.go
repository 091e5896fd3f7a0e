// Package streaming carries a command's input and output over a WebSocket in the channel protocol of Kubernetes
// ("v5.channel.k8s.io", and v4 for older clients), the node's side of exec and attach.
//
//	streaming.Serve(w, r, streaming.Options{Stdin: true, Stdout: true}, func(ctx context.Context, s runtime.Streams) error {
//		return rt.StreamExec(ctx, containerID, command, s)
//	})
//
// Each message begins with a byte that names its channel: 0 standard input, 1 standard output, 2 standard error, 3 the
// outcome (a metav1.Status in JSON, the last message), 4 terminal sizes, 255 (v5) the end of the channel in the next byte.
//
// Serve owns the connection and has closed it when it returns; every goroutine it started is done by then. When the client
// goes, the command's context ends. Output is written as it comes: a client that doesn't read slows the command down, and
// nobody else. Messages of a client are limited to 1 MiB.
//
// Clients behind proxies that know no WebSockets ask for SPDY/3.1 instead ("v4.channel.k8s.io"); Serve speaks that too. [ServePorts] forwards
// ports: SPDY in pairs of streams ("portforward.k8s.io"), by itself or in the messages of a WebSocket.
//
// It authenticates nobody.
package streaming
