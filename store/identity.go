package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/raft"
)

// nameKey is where a member's name stands in its stable store, beside Raft's vote: what it has promised under one name
// it must never break under another.
var nameKey = []byte("KeelsonName")

// foundersKey is where a founder keeps foundersSum of its cluster.
var foundersKey = []byte("KeelsonFounders")

// foundersSum is a number for the names of a cluster's founders. Each founder writes the first entry of the log for
// itself. Raft takes entries of one index and term to be the same, and so would never notice that founders were told of
// different ones, and have different majorities; they notice it when they greet each other.
func foundersSum(founders []raft.Server) uint64 {
	var names []string
	for _, f := range founders {
		names = append(names, string(f.ID))
	}
	slices.Sort(names)
	var text []byte
	for _, name := range names {
		text = appendBytes(text, []byte(name))
	}
	sum := sha256.Sum256(text)
	return max(1, binary.BigEndian.Uint64(sum[:]))
}

// founded returns what foundersSum gave, or 0 if this member was not one of them.
func (d *durable) founded() (uint64, error) {
	sum, err := d.logs.GetUint64(foundersKey)
	if err != nil && !notFound(err) {
		return 0, err
	}
	return sum, nil
}

// identify makes sure that the files are this member's.
//
// The files of a lone store become those of a member here, the first of a cluster that others can then join. That is a
// change of the configuration, from the lone voter to the named one, and it is made as Raft makes all of them: by an
// entry of the log. The only voter needs nobody's consent, all that its log holds counts as committed when it leads
// again, and an entry is stored as a whole or not at all, so that a crash leaves the one or the other. The entry has the
// newest term that the member knows of, in which nobody else can have led.
func (d *durable) identify(self raft.Server, snapshot *raft.SnapshotMeta) error {
	name, err := d.logs.Get(nameKey)
	if err != nil && !notFound(err) {
		return err
	}
	if string(name) == string(self.ID) {
		return nil
	}
	wrong := func(name string) error {
		return fmt.Errorf("%w: the files are those of member %q, and Name is %q", ErrConfig, name, self.ID)
	}
	if len(name) > 0 {
		return wrong(string(name))
	}
	configuration, last, err := d.stored(snapshot)
	if err != nil {
		return err
	}
	if servers := configuration.Servers; len(servers) == 1 && servers[0].ID != self.ID {
		if servers[0].ID != loneID || servers[0].Suffrage != raft.Voter {
			return wrong(string(servers[0].ID))
		}
		term, err := d.logs.GetUint64([]byte("CurrentTerm")) // Raft's
		if err != nil && !notFound(err) {
			return err
		}
		entry := &raft.Log{
			Index: last + 1, Term: max(term, 1), Type: raft.LogConfiguration,
			Data: raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{self}}),
		}
		if err := d.logs.StoreLog(entry); err != nil {
			return err
		}
		d.store.cfg.Logger.Sugar().Infof("the lone store in %s is member %q of a cluster from now on", d.store.cfg.Dir, self.ID)
	}
	return d.logs.Set(nameKey, []byte(self.ID))
}

// stored returns the newest configuration on disk and the index of the last entry.
func (d *durable) stored(snapshot *raft.SnapshotMeta) (configuration raft.Configuration, last uint64, err error) {
	var after uint64
	if snapshot != nil {
		configuration, after = snapshot.Configuration, snapshot.Index
	}
	first, err := d.logs.FirstIndex()
	if err != nil {
		return configuration, 0, err
	}
	if last, err = d.logs.LastIndex(); err != nil {
		return configuration, 0, err
	}
	for i := max(first, after+1); i <= last; i++ {
		var entry raft.Log
		if err := d.logs.GetLog(i, &entry); err != nil && !errors.Is(err, raft.ErrLogNotFound) {
			return configuration, 0, err
		}
		if entry.Type == raft.LogConfiguration {
			configuration = raft.DecodeConfiguration(entry.Data)
		}
	}
	return configuration, max(last, after), nil
}
