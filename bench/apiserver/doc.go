// Command apiserver measures Keelson's API server beside kube-apiserver, on one machine, one disk and in one run:
//
//	go -C bench run ./apiserver -write ../docs/benchmarks.md
//
// It runs on Linux, whose files in /proc it reads. kube-apiserver is a binary given by -kube-apiserver; without it, it is
// built from its module into the user's cache directory, once, which takes ten minutes and needs the module proxy.
// "-kube-apiserver none" leaves it out. -quick takes a few minutes.
//
// # Servers
//
// Each server runs in processes of its own. kube-apiserver stores in etcd, which is etcd's embed package with its defaults
// in a process of its own, on loopback without TLS; figures of kube-apiserver are those of both processes, except that etcd
// runs already when the time of a start begins. keelson is what keelson.Config{DataDir, Listen} gives, without
// controllers and scheduler, which kube-apiserver does not have either; start and idle memory are also measured with them. floor is an
// http.Server that answers from memory with no work: the bytes that keelson answered to the same request. All three serve
// HTTP/2 over TLS with certificates of one authority and ECDSA keys, and take the same client certificate, whose group is
// system:masters.
//
// # Client
//
// This process is the client: client-go for all three. Creates, gets, updates, patches and deletes go through its typed client,
// which decodes each answer; objects are in protobuf, patches are strategic merge patches in JSON. Lists are read to their end and
// not decoded, but decompressed where they were compressed. Events of watches are split into frames, in which the client
// looks for the time of the write, and not decoded.
//
// # Figures
//
// The servers of one comparison run at the same time and take turns: in each round every server is driven for a short
// while, in an order that changes from round to round. What is printed is the median of the rounds, and the median of
// the rounds' ratios. Processor time is what the server's processes used while they were driven, per request. A start begins
// with the execution of the process and ends with the first 200 of /readyz. Memory is the resident set after a garbage
// collection, which kube-apiserver's and etcd's processes are asked for too, and the part of it that is anonymous; the live heap is what
// the collection left. What a watcher takes is live heap and stacks: heaps that others have left larger hide it in the resident set. A peak is how much the resident set grew while lists were served, divided by how many there were at once.
package main
