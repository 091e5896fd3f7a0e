package store

import "time"

// commandKind numbers are part of the format of the Raft log: never change their meaning.
type commandKind uint8

const (
	commandTxn     commandKind = 1
	commandGrant   commandKind = 2
	commandRenew   commandKind = 3
	commandRevoke  commandKind = 4
	commandExpire  commandKind = 5
	commandCompact commandKind = 6
	// commandOpen is committed once after every election: what was committed before it has been applied when it has.
	// It brings the cluster's id, which counts only if there is none yet.
	commandOpen commandKind = 7
	// commandTagged comes before the kind of a command that has a session and number.
	commandTagged commandKind = 8
	// commandDescribe and commandForget set and drop what is known of a member.
	commandDescribe commandKind = 9
	commandForget   commandKind = 10
	// commandRaise raises the version of the formats in use.
	commandRaise commandKind = 11
	// commandBounded comes before the kind of a command, behind its tag, that must not make the store hold more than the
	// number of bytes that it brings.
	commandBounded commandKind = 12
)

// commandNext is no command of this release: tests make a next one that has it. It puts its name.
const commandNext commandKind = 127

// command is one input of the state machine. Which fields count depends on the kind.
type command struct {
	kind     commandKind
	session  uint64        // the proposer's session; 0 if the command is never proposed again
	seq, ack uint64        // its number in the session, and the lowest that its proposer still waits for
	bound    int64         // txn, grant: how many bytes the store may hold; 0 means no bound
	txn      *Txn          // txn; nil means that it consists of put
	put      PutRequest    // txn
	lease    int64         // grant, renew, revoke, expire
	ttl      time.Duration // grant
	renewals uint64        // expire: what the lease's counter must be
	term     uint64        // expire: the proposer's Raft term, which must be the entry's
	revision int64         // compact
	cluster  uint64        // open
	about    *attributes   // describe
	name     string        // forget, next
	version  uint64        // raise
	pending  *Pending      // who is told what became of it; not encoded
}

// result is what the state machine answers to a command.
type result struct {
	err      error // one of the sentinels; nothing was changed then
	key      string
	revision int64      // the store's after the command, or what goes with err
	txn      *TxnResult // of a transaction, unless it is in put
	put      PutResult
	ttl      time.Duration
}
