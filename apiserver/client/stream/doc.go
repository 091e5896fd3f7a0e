// Package stream is the client's half of logs and exec, which clients of a control plane and the control plane as a client
// of node agents share: options as URL parameters, the v5.channel.k8s.io WebSocket protocol, and errors that an HTTP
// answer carries. Connections are the caller's: [Exec] opens one through the http.Client that it is given, and closes it
// before it returns.
package stream
