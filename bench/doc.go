// Command bench measures Keelson's store beside etcd, on one machine, one disk and in one run:
//
//	go -C bench run . -write ../docs/benchmarks.md
//
// It runs on Linux, whose files in /proc it reads. With -quick it takes about a minute; -busy is for a machine that others
// use too.
//
// Each server runs in a process of its own, this program executed again, so that what the system says of the process
// is what the server used: processor time per operation, resident memory. There are three kinds of server. etcd is
// etcd's own embed package with its defaults, but for a larger quota and no logs. keelson is package store with its
// defaults behind package etcdapi. floor is a gRPC server of the same services that does no work: what it takes is what
// gRPC and the client take. This process is the client: go.etcd.io/etcd/client/v3 for all three.
//
// Both stores answer a write when it is synced to disk (on a majority of members), and share a sync between writes that
// wait for one. Both check with a majority that they lead before a linearizable read.
//
// The servers of one comparison all run at the same time, and take turns: in each round every server is driven for a
// short while, in an order that changes from round to round. What is printed is the median of the rounds, and the
// median of the rounds' ratios, so that a neighbour who takes the machine for a while hits all of them alike.
//
// Rows that say in-process drive the library by method calls in the server's process, without gRPC: etcd through the
// methods of its EtcdServer and of its watchable store, which is less work than its in-process client makes.
//
// Memory is the process' resident set after its keys were put one after the other, as it stands and after a garbage
// collection; etcd's counts the pages of its mapped file that are in memory. The time to the first write begins before
// the library is told to open its directory, and ends when a put is acknowledged.
package main
