// Package store is a multi-version key-value store with etcd's model: one revision counter for all keys, transactions
// with compares, ranges at a past revision, watches from a revision, leases, compaction, snapshots. It runs in memory
// as one durable member on Raft, or as one of up to seven members of a cluster, and all behave alike; package storetest
// holds the suite that shows it.
//
//	s, err := store.Open(ctx, store.Config{Dir: "/var/lib/app"}) // Dir "" keeps everything in memory
//	defer s.Close()
//	put, err := s.Put(ctx, store.PutRequest{Key: []byte("/a"), Value: []byte("1")})
//	kv, found, err := s.Get(ctx, []byte("/a"))
//
// # Revisions
//
// Every transaction that changes something raises the store's revision by one; a new store starts at 1. A key
// remembers the revision that created it and the one that last changed it. Past revisions can be read until they are
// compacted, by [Store.Compact] or by Config.Retention. The revision never falls: not over a restart, not by a
// restore, which moves it far forward.
//
// # Consistency
//
// Writes are linearizable, and when a write returns it is on disk (Config.Dir set) and visible. Reads are
// linearizable unless they ask for Serializable; both are served from an immutable snapshot of a copy-on-write tree,
// so that they neither block writes nor wait for them. A transaction sees its own changes. When a durable write fails
// with [ErrUnknownOutcome] it may have been applied or not; after every other error it was certainly not.
//
// # Watching
//
// [Store.Watch] returns a [Watcher], pulled with Next. Events arrive in revision order, without gap or repeat, and
// never a part of a transaction. A revision that has been compacted gives [ErrCompacted], a future one waits. A
// watcher that is so slow that its next event was compacted gets ErrCompacted too; writers never wait for it.
//
// # Leases
//
// A key put with a lease is deleted when the lease is revoked or runs out. The member that leads keeps the time: it
// proposes an expiry that names the lease, the number of its renewals and the Raft term, and the state machine
// refuses one that does not fit. A restart, or another leader, gives every lease its full time again. What TimeToLive
// says of the time remaining is what the member that is asked counts itself.
//
// # Clusters
//
// A Config with a Name makes a member. The founders of a cluster are opened with the same Peers; Open does not wait
// for the others, what is asked of the store does, as long as its context lets it. Others join a running cluster:
//
//	err := s.AddMember(ctx, store.Peer{Name: "d", Addr: "10.0.0.4:2380"}) // at any member
//	d, err := store.Open(ctx, store.Config{Name: "d", Peers: all, Join: true, Dir: dir, TLS: tlsConfig})
//
// The new member has no vote until it has caught up. All members serve everything: writes go to the one that leads,
// and are proposed again, and applied once, when an answer is lost or another comes to lead; linearizable reads ask
// the voters first, and are then served locally. So while there is no majority, writes and linearizable reads wait,
// and serializable reads and watches from a given revision go on. A write fails with ErrUnknownOutcome only when the
// member closes, was removed, or fell so far behind that it was sent a snapshot, and what a context ends may still be
// applied if it was under way. A watch may be opened again at another member, after the last revision seen. Close
// hands leadership over.
//
// A store that has run without a name becomes the first member of a cluster when it is opened with a Name, and Peers that
// has only this; its files are the cluster's from then on. A member that is opened with another address for itself in
// Peers tells the others, and when all have moved they find each other by their Peers; there is no other way back to an
// address that nobody remembers. A member's files know its name, and are refused under another.
//
// Members talk over one port each, with TLS 1.3 and certificates on both sides that are valid for their names. They
// tell each other every second how they are: Status has all of them at every member. They compare hashes of what they
// have applied, and a member whose data differ from what most have stops with [ErrDiverged].
//
// Members of a release and the next one work together, and what is new is used once all of them are upgraded: see
// Config.HoldVersion and docs/upgrades.md. [Store.Health] is for probes, Config.Metrics for Prometheus.
//
// # Ownership
//
// Byte slices passed in are copied where they are kept. Byte slices and pointers handed out are shared with the store
// and with all other readers: they must not be changed.
//
// # Concurrency and lifetime
//
// All methods of a [Store] may be called at once from many goroutines. Concurrent writes to a durable store share one
// Raft entry and one disk sync. Open starts goroutines and Close joins them; calls after it fail with [ErrClosed].
// One process at a time may have a directory open, a second gets [ErrLocked]. The in-memory form works in a
// testing/synctest bubble, and so do members with a [MemoryDisk] whose connections are in memory.
//
// A corrupt or truncated data file makes Open fail with [ErrCorrupt]. A failed disk sync is final: the store stops
// taking writes and reads with [ErrFailed], because what the disk holds is no longer known; open it again. So is a write
// to the disk that takes longer than Config.DiskTimeout. Before the disk is full, puts are refused with [ErrDiskFull].
//
// # Files
//
// What is written to Config.Dir is encrypted with the keys of Config.Keys, if there are any; [Store.Reencrypt] rotates
// them. [Verify], [CompactFiles] and [Recover] work on the directory of a store that is closed: they look for damage,
// shrink the bolt file, and make a new cluster from what is left of one that has lost its majority. docs/recovery.md
// says when to do what.
//
// The store does not interpret values, authorize callers or serve a network; package etcdapi serves etcd's gRPC API
// over it.
package store
