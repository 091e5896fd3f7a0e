package store

import (
	"errors"

	"github.com/hashicorp/raft"
)

// LogStore is where a durable member keeps Raft's log, its term and its vote. [Config.OpenLog] opens one; without it
// that is package wal's, or that of [OpenBoltLog] in a directory that was begun with it. Package logtest has the suite that
// every log store passes.
//
// What is stored must be on disk when StoreLog, StoreLogs, DeleteRange, Set or SetUint64 return nil: what they were
// given, or nothing, is there after a power cut at any moment, and of StoreLogs the first entries. An error means that
// nothing is known of what the disk holds: the store never asks again and stops. StoreLogs gets consecutive indexes;
// the first may be further than one above the last one stored, when a snapshot has taken the place of what is
// between, and then what was stored before need not be kept. DeleteRange gets a range from the first entry on or up
// to the last one. GetLog gives raft.ErrLogNotFound for an entry that is not there, and Get and GetUint64 give an error
// whose text is "not found", which Raft looks for, or nothing and zero. Entries come with a checksum behind their data;
// a log store need not know.
//
// All methods may be called at once: Raft deletes what a snapshot has taken the place of while it stores. Close ends
// it; nothing is called after that.
//
// What else a log store can tell is found by assertion: [LogNamer], [LogSizer],
// [LogPresence] and raft.MonotonicLogStore.
type LogStore interface {
	raft.LogStore
	raft.StableStore
	Close() error
}

// LogNamer is a LogStore that says what it is, so that a directory is not opened with another one.
type LogNamer interface {
	// LogName is the same for all log stores that read each other's files: "bolt", "wal".
	LogName() string
}

// LogSizer is a LogStore that knows what it takes up.
type LogSizer interface {
	// LogSizes returns the bytes of its files and how many of them are free for what comes next.
	LogSizes() (file, free int64)
}

// LogPresence is a LogStore that notices when its files are taken away while it is open.
type LogPresence interface {
	// LogLost returns an error that names a file which is no longer where it was, or is another one. It is asked every
	// second, at the same time as anything else.
	LogLost() error
}

// notFound is how Raft recognizes that a stable store does not have a key: by its text (v1.8.0).
func notFound(err error) bool { return err != nil && err.Error() == "not found" }

// errNotFound is what a stable store says of a key that it does not have.
var errNotFound = errors.New("not found")

// logName returns what the log store says that it is; empty if it does not.
func logName(logs LogStore) string {
	if n, ok := logs.(LogNamer); ok {
		return n.LogName()
	}
	return ""
}
