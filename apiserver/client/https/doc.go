// Package https is a client.Client over the network: it speaks the Kubernetes API to a Keelson control plane or to any
// other server of it.
//
//	c, err := https.FromKubeconfig("admin.kubeconfig")
//	pods, err := client.For(c, kind.Pod).List(ctx)
//
// Built-in kinds travel as protobuf, others as JSON. Errors are Kubernetes statuses; a request that got no answer is a
// plain error. Reads that the server turns away with 429 are sent again after the time that it names, as long as their
// context lasts; writes are not, because the caller may not want them twice.
//
// A [Client] is safe for concurrent use. Connections are kept and shared (HTTP/2 where the server has it) until Close.
// A watch owns one goroutine, which reads ahead a little and ends with the watch: Close it, or end its context.
package https
