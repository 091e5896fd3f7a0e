package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// Reencrypt asks the keyring for its current key and has everything that this member keeps on disk encrypted with it:
// the state is written as a new snapshot, and what came before is dropped from Raft's log and the older snapshots. When
// it returns nil the member needs no other key any more. Other members that are behind may have to be sent the
// snapshot. What the log store's files hold besides may have old entries in it, until it is used again or CompactFiles has run. It fails with ErrKey, or with
// ErrConfig if there is no keyring or no directory.
func (s *Store) Reencrypt(ctx context.Context) error {
	var d *durable
	switch e := s.engine.(type) {
	case *durable:
		d = e
	case *member:
		d = e.durable
	}
	if d == nil || d.files == nil || s.cfg.Keys == nil {
		return &Error{Op: "reencrypt", Err: fmt.Errorf("%w: Dir and Keys must be set", ErrConfig)}
	}
	select {
	case d.reencrypting <- struct{}{}:
		defer func() { <-d.reencrypting }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := d.reencrypt(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &Error{Op: "reencrypt", Err: err}
	}
	return nil
}

// reencryptTries is how often a snapshot that Raft takes by itself may come in between.
const reencryptTries = 5

func (d *durable) reencrypt(ctx context.Context) error {
	if err := d.files.seal.rotate(ctx); err != nil {
		return err
	}
	for try := 1; ; try++ {
		// An entry that changes nothing: this one, and what follows, is encrypted with the new key.
		if _, err := d.store.propose(ctx, "reencrypt", command{kind: commandOpen, cluster: d.store.current.Load().cluster}); err != nil {
			return err
		}
		done := make(chan error, 1)
		go func() { done <- d.replaceLog() }()
		var err error
		select {
		case err = <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err == nil {
			break
		}
		if !errors.Is(err, raft.ErrNothingNewToSnapshot) || try == reencryptTries {
			return err
		}
	}
	if files, ok := d.snapshots.(*snapshotFiles); ok {
		files.prune(1)
	}
	return d.files.onlyCurrent()
}

// replaceLog has Raft take a snapshot now, and keep nothing of its log that is older. Its newest entry always stays.
func (d *durable) replaceLog() error {
	usual := d.raft.ReloadableConfig()
	least := usual
	least.TrailingLogs = 1
	if err := d.raft.ReloadConfig(least); err != nil {
		return err
	}
	return errors.Join(d.raft.Snapshot().Error(), d.raft.ReloadConfig(usual))
}

// onlyCurrent returns an error if an entry of the log is not encrypted with the current key.
func (s *checkedLog) onlyCurrent() error {
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.LastIndex()
	if err != nil {
		return err
	}
	s.seal.mu.Lock()
	current := s.seal.current.key
	s.seal.mu.Unlock()
	for i := first; i <= last && i > 0; i++ {
		var entry raft.Log
		if err := s.logs.GetLog(i, &entry); errors.Is(err, raft.ErrLogNotFound) {
			continue // a gap, or Raft has dropped it meanwhile
		} else if err != nil {
			return err
		}
		data, form, err := checkEntry(&entry)
		if err != nil {
			return err
		}
		if form == formPlain {
			return fmt.Errorf("%w: entry %d is still not encrypted", ErrKey, i)
		}
		if id, _, err := sealedBy(data); err != nil || id.key != current {
			return errors.Join(err, &KeyError{id.key, fmt.Errorf("still needed for entry %d", i)})
		}
	}
	return nil
}
