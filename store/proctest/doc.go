// Package proctest holds no code that runs: its tests run members of a store as processes of their own, on real sockets
// with mutual TLS and each with a directory, kill and pause them, cut and slow down their connections, and check that
// nothing acknowledged is lost. A member is this package's test binary, run again.
//
//	go test ./store/proctest                              # 20 cycles of kill -9
//	go test ./store/proctest -run TestKill -cycles 1000   # as many as wanted
//	go test ./store/proctest -run TestKill -seed 7        # the choices of a run that failed
//
// Clients use etcd's API over gRPC at all members. What they check: every acknowledged write is there and was applied
// once; reads and writes of keys that all clients share are linearizable (porcupine); the revision never falls; a watch
// that moves from member to member sees every revision once. What a fault did is checked too: that it happened, that
// leaders changed, that writes went on between faults.
package proctest
