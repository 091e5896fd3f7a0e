// Package etcdapi serves etcd's v3 gRPC API over a store, so that etcdctl and etcd's Go client work against it
// unmodified.
//
//	api := etcdapi.New(s, etcdapi.Config{ClientURLs: []string{"https://127.0.0.1:2379"}})
//	err := api.Serve(ctx, listener, tlsConfig) // until ctx ends
//
// Serve has all that etcd has on its port for clients: the gRPC services, through package transport, and over HTTP
// /version, the probes and metrics. Who has an HTTP server takes a Server for its handler, see ServeHTTP; who has a gRPC
// server adds the services to it with Register; and Transport is the faster gRPC server alone. Then Close ends the
// streams before the gRPC server stops.
//
// All services are served, at every member of a cluster; what follows is where they differ from etcd 3.7, and why.
// Errors have etcd's codes and texts, by which its clients recognise them.
//
//   - Authentication is not enabled and can't be: what would enable it is "not capable". Put authentication in front,
//     as transport credentials or interceptors of the gRPC server.
//   - A member is known by its name, of which its number is made. MemberAdd takes the name from the URL
//     (https://name@host:port), or else takes the host for it. A new member is a learner until it has caught up, and
//     then becomes a voter by itself; MemberPromote waits for that. MemberUpdate can't move a member. Learners serve
//     everything, since they do it correctly.
//   - A snapshot is in the format of [store.Store.Snapshot], not a bolt file, padded and followed by its SHA-256 as
//     etcd's is, so that etcdctl takes it. Config.Restore of package store reads it, etcdutl does not.
//   - HashKV is over what keys are at the revision. Members agree on it, but with etcd's number they don't.
//   - Defragment succeeds and does nothing: there is nothing to do while the store is open.
//   - Alarms come and go with their reason and can't be raised by hand. NOSPACE is a quota that is exceeded or a disk
//     that is nearly full, CORRUPT a member whose data differ. Only NOSPACE of the member that is asked can be disarmed.
//   - Downgrade is refused in etcd's words: no version can be gone back to.
//   - Leases of one second are granted; etcd makes them longer than an election. Numbers of leases are not negative.
//   - RangeStream sends what one Range finds; like etcd it takes neither an order nor bounds on revisions.
//   - A watch without a revision begins after every write that was acknowledged before it, wherever that was; etcd
//     begins it after what the member has. So making one waits for a leader, for Config.RequestTimeout at most.
//   - The answer to a progress request waits until all watches of the stream have caught up, those too that were made
//     since; etcd does not answer while one is behind.
//   - One stream has at most Config.MaxWatches watches.
//
// A slow reader of a watch holds up its own stream only. It keeps one batch for each of its watches in memory, and is
// cancelled with the compact revision when what it has not read yet is compacted.
//
// A Server may be used by many goroutines. What it starts ends with the call or stream that it was started for, and when
// Serve has returned nothing is left. It does not own the store, nor a server that it is registered with.
package etcdapi
