// Package nodeproxy reaches from a control plane into running containers: it finds the node agent of a pod's node and
// carries logs, exec, attach and port-forward to it. [Proxy.ServeHTTP] passes requests of API clients through, upgraded
// connections (WebSocket, SPDY) included; [Proxy.Logs] and [Proxy.Exec] are the same for callers in the process.
//
// The node agent is dialled at the node's address and daemon port, or by Config.Dial. With Config.TLS the control
// plane shows its client certificate, by which node agents know it. Each request has a connection of its own, closed
// with it.
//
// Who may do so is not asked here: the caller has authorized the request. Errors are Kubernetes statuses.
package nodeproxy
