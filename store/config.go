package store

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Config says how a store runs. The zero Config is a store in memory.
type Config struct {
	// Dir is the directory that holds the store's files; it is made if it does not exist. Empty means memory only.
	Dir string
	// OpenLog opens, or makes, the log store in a directory that exists, Dir. It has to be the same one each time: another
	// gives ErrLogStore, and MigrateLog changes it. Nil means the one that Dir was begun with, if it is package wal's or
	// OpenBoltLog's; a new Dir gets package wal's.
	OpenLog func(dir string) (LogStore, error)
	// Keys has the keys with which what is written to Dir is encrypted: the data of Raft's log, and snapshots. Nil means
	// that nothing is encrypted, and that what is can't be read (ErrKey). A Dir that was not encrypted is from then on;
	// Store.Reencrypt does what is there already. The keys are this member's own affair: others may have other ones.
	Keys Keyring
	// DiskTimeout is how long a write to the log store may take. When one takes longer, the store stops with ErrFailed
	// and ErrDiskTimeout, so that another member comes to lead. Zero means DefaultDiskTimeout, a negative value no bound.
	DiskTimeout time.Duration
	// Metrics is where the store registers what docs/metrics.md lists, until it is closed. Several stores need one
	// each, or labels to tell them apart (prometheus.WrapRegistererWith). Nil means that nothing is counted.
	Metrics prometheus.Registerer
	// Logger receives what an operator may want to know. Nil means none.
	Logger *zap.Logger
	// Restore is a snapshot, as Store.Snapshot wrote it, to begin with. It is an error (ErrNotEmpty) if Dir holds
	// data. The restored store's revision is RestoreBump above the snapshot's, its history is compacted, and its
	// cluster id is new. Nil means to begin empty, or with what Dir holds.
	Restore io.Reader
	// MaxRequestBytes bounds one transaction. Zero means 4 MiB.
	MaxRequestBytes int
	// MaxTxnOps bounds the compares, and the operations of either branch, of one transaction. Zero means 10,000.
	MaxTxnOps int
	// MaxBatchBytes bounds what shares one Raft entry; a single larger command still makes an entry. Zero means 1 MiB.
	MaxBatchBytes int
	// QuotaBytes refuses puts and leases, with ErrQuota, that would make the store hold more than this, counting keys,
	// values and all versions that are not compacted. Deletes, compaction and revocation are not refused. It goes with
	// what this member proposes: give all members the same. Zero means no bound.
	QuotaBytes int64
	// MinFreeBytes is what the disk of Dir must have free: with less, puts and leases are refused with ErrQuota and
	// ErrDiskFull, at all members, until there is more. Zero means 64 MiB or twice what the store holds, whichever is
	// more; a negative value no such limit.
	MinFreeBytes int64
	// Retention is how long history is kept before it is compacted by itself. Zero means ten minutes, a negative
	// value for ever, until Compact is called. A nanosecond leaves it to RetainRevisions alone.
	Retention time.Duration
	// RetainRevisions is how many revisions are kept however old they are. Zero means 10,000, a negative value leaves it
	// to Retention alone.
	RetainRevisions int64
	// Name makes the store a member of a cluster, under this name, which no other member has or had. Empty means a
	// store without peers, and then what follows here is not used.
	Name string
	// Peers are the members that a new cluster begins with, this one among them, and the same for each of them. A
	// single one leads at once and others can join it. With Join they are this one and all that are members now: who is
	// not among them can't reach it. Once Dir holds data, that says who is a member, and Peers only where this one is
	// now, and where others may be if they are not where they were.
	Peers []Peer
	// Join makes a member with an empty Dir wait until the cluster has added it, with Store.AddMember.
	Join bool
	// Listener accepts the connections of other members; the store closes it. Nil means TCP at the address that
	// Peers has for Name.
	Listener net.Listener
	// Dial connects to another member's address. Nil means TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// TLS has this member's certificate, which must be valid for Name, and the authorities (RootCAs, ClientCAs) that
	// issue those of the members. The connections are TLS 1.3 with certificates on both sides. GetCertificate and
	// GetClientCertificate are asked for each connection, so that a certificate can be replaced while the member runs;
	// connections that stand go on with the old one. Nil means no TLS: only for connections within one process or
	// machine.
	TLS *tls.Config
	// ClientURLs are where clients reach what serves this store, such as package etcdapi: all members tell them, in
	// Status. The store itself does not listen there.
	ClientURLs []string
	// HoldVersion keeps the cluster from using formats newer than this version, as long as this member is opened with
	// it: so that the last release can be gone back to until the new one has proved itself. What is in use already
	// stays. Zero means that the cluster uses a version as soon as all members support it.
	HoldVersion int
	// MemoryDisk stands for Dir in tests.
	MemoryDisk *MemoryDisk
	// SnapshotEntries is the number of Raft entries after which a snapshot replaces the log. Zero means 8192.
	SnapshotEntries uint64

	free    func(dir string) (int64, error) // stands for freeBytes
	bugs    bugs
	release uint64 // the newest version of the formats that it knows; 0 means this release's
}

// RestoreBump is how far a restore moves the revision: so far that no client can have seen what comes after it.
const RestoreBump = 1_000_000_000

func (c Config) withDefaults() (Config, error) {
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MaxRequestBytes", int64(c.MaxRequestBytes)},
		{"MaxTxnOps", int64(c.MaxTxnOps)},
		{"MaxBatchBytes", int64(c.MaxBatchBytes)},
		{"QuotaBytes", c.QuotaBytes},
		{"HoldVersion", int64(c.HoldVersion)},
	} {
		if f.value < 0 {
			return c, fmt.Errorf("%w: %s is %d, must not be negative", ErrConfig, f.name, f.value)
		}
	}
	if err := c.validateMember(); err != nil {
		return c, err
	}
	if err := c.validateClientURLs(); err != nil {
		return c, err
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.MaxRequestBytes == 0 {
		c.MaxRequestBytes = 4 << 20
	}
	if c.MaxTxnOps == 0 {
		c.MaxTxnOps = 10_000
	}
	if c.MaxBatchBytes == 0 {
		c.MaxBatchBytes = 1 << 20
	}
	if c.Retention == 0 {
		c.Retention = 10 * time.Minute
	}
	if c.RetainRevisions == 0 {
		c.RetainRevisions = 10_000
	}
	if c.DiskTimeout == 0 {
		c.DiskTimeout = DefaultDiskTimeout
	}
	if c.SnapshotEntries == 0 {
		c.SnapshotEntries = 8192
	}
	return c, nil
}
