package store

import (
	"errors"
	"fmt"

	"github.com/keelson-dev/keelson/store/internal/fault"
	"github.com/keelson-dev/keelson/watch"
)

// Kinds of errors. The error a method returns is an [*Error] that wraps one of them, or the context's error.
var (
	// ErrCompacted says that the revision asked for has been compacted; Error.Revision is the oldest one that can be
	// read. It is the same value as watch.ErrCompacted.
	ErrCompacted = watch.ErrCompacted
	// ErrFutureRevision says that the revision asked for does not exist yet; Error.Revision is the newest.
	ErrFutureRevision = errors.New("revision is in the future")
	// ErrClosed says that the store or the watcher was closed.
	ErrClosed = errors.New("store closed")
	// ErrLeaseNotFound says that the lease does not exist, or no longer.
	ErrLeaseNotFound = errors.New("lease not found")
	// ErrLeaseExists says that a lease with this id exists already.
	ErrLeaseExists = errors.New("lease exists already")
	// ErrLeaseTTL says that a lease's time to live is out of bounds.
	ErrLeaseTTL = errors.New("lease time to live out of bounds")
	// ErrKeyNotFound says that a put which keeps the value or the lease found no key to keep it of.
	ErrKeyNotFound = errors.New("key not found")
	// ErrEmptyKey says that a request has no key.
	ErrEmptyKey = errors.New("key is empty")
	// ErrDuplicateKey says that one transaction would change a key twice.
	ErrDuplicateKey = errors.New("duplicate key in transaction")
	// ErrInvalid says that a request contradicts itself.
	ErrInvalid = errors.New("invalid request")
	// ErrTooManyOps says that a transaction has more operations than Config.MaxTxnOps.
	ErrTooManyOps = errors.New("too many operations in transaction")
	// ErrTooLarge says that a request is larger than Config.MaxRequestBytes, or that its transaction would visit more
	// than ten million versions of keys, see Txn.
	ErrTooLarge = errors.New("request too large")
	// ErrQuota says that the store holds more than Config.QuotaBytes; deleting and compacting make room.
	ErrQuota = errors.New("quota exceeded")
	// ErrUnknownOutcome says that a write was handed to Raft and its fate is not known.
	ErrUnknownOutcome = errors.New("outcome of the write is unknown")
	// ErrNotLeader says that this member does not lead just now; the write was not applied.
	ErrNotLeader = errors.New("not the leader")
	// ErrFailed says that the store stopped after a disk error.
	ErrFailed = errors.New("store failed")
	// ErrDiskTimeout goes with ErrFailed: the disk did not answer within Config.DiskTimeout.
	ErrDiskTimeout = errors.New("disk hangs")
	// ErrDiskFull says that the disk has no room. It goes with ErrFailed when a write met that and the store has stopped,
	// and with ErrQuota when a write was refused to keep that from happening.
	ErrDiskFull = errors.New("disk is full")
	// ErrCorrupt says that stored data or a snapshot is not what was written.
	ErrCorrupt = fault.ErrCorrupt
	// ErrKey says that data can't be decrypted: a key is missing or is another one. A *KeyError with it names the key.
	ErrKey = errors.New("encryption key missing or wrong")
	// ErrVersion says that data was written by a newer release in a format this one does not know.
	ErrVersion = fault.ErrVersion
	// ErrDiverged says that this member's data differ from what most members of its cluster have, though all ran the
	// same commands. It has stopped; it goes with ErrFailed.
	ErrDiverged = errors.New("data differ from the other members'")
	// ErrLocked says that another process, or another Store, has the directory open.
	ErrLocked = fault.ErrLocked
	// ErrLogStore says that the directory belongs to another log store than the one that Config.OpenLog opens.
	ErrLogStore = errors.New("directory belongs to another log store")
	// ErrNotEmpty says that Config.Restore was given for a store that holds data.
	ErrNotEmpty = errors.New("store is not empty")
	// ErrMember says that a change of membership is not possible.
	ErrMember = errors.New("membership can't be changed so")
	// ErrNotMember says that this member was removed from its cluster.
	ErrNotMember = errors.New("not a member of the cluster")
	// ErrConfig says that a Config field has an impossible value.
	ErrConfig = fault.ErrConfig
)

// Error says what failed, on which key.
type Error struct {
	// Op is the operation: "open", "range", "txn", "watch", ...
	Op string
	// Key is the key concerned, if there is one.
	Key string
	// Revision goes with ErrCompacted (the oldest that can be read) and ErrFutureRevision (the newest).
	Revision int64
	// Err is the kind, possibly wrapped with more detail.
	Err error
}

func (e *Error) Error() string {
	text := "store: " + e.Op
	if e.Key != "" {
		text += fmt.Sprintf(" %q", e.Key)
	}
	text += ": " + e.Err.Error()
	switch {
	case e.Revision == 0:
	case errors.Is(e.Err, ErrCompacted):
		text += fmt.Sprintf("; the oldest that can be read is %d", e.Revision)
	case errors.Is(e.Err, ErrFutureRevision):
		text += fmt.Sprintf("; the newest is %d", e.Revision)
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }
