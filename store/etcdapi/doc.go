// Package etcdapi serves etcd's v3 gRPC API over a store, so that etcdctl and etcd's Go client work against it
// unmodified.
//
//	api := etcdapi.New(s, etcdapi.Config{ClientURLs: []string{"https://127.0.0.1:2379"}})
//	server := grpc.NewServer(grpc.Creds(credentials))
//	api.Register(server)
//	err := server.Serve(listener)
//	...
//	api.Close() // ends the streams; then server.GracefulStop()
//
// Served are KV, Watch, Lease, and of Maintenance and Cluster what makes sense for one member: status, hashes,
// snapshot, the list of members. Errors have etcd's codes and texts, by which its clients recognise them. Where etcd
// has something that a Keelson store does not (changing members, moving the leader, defragmenting, downgrading) the
// answer is etcd's "not capable"; authentication is not enabled and can't be. Put authentication in front, as
// transport credentials or interceptors of the gRPC server.
//
// A watch answers what etcd's does: created, events, cancelled with the compact revision, progress on request and by
// itself. Responses are not fragmented. One stream carries any number of watches; each is one cursor of the store,
// and a slow client holds up only its own stream. A snapshot is in the format of [store.Store.Snapshot], not a bolt
// file, and padded and followed by its SHA-256 as etcd does it; Config.Restore of package store reads it.
//
// A Server may be used by many goroutines. It starts none outside of a call, and owns neither the store nor the gRPC
// server.
package etcdapi
