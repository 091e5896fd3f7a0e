package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// The formats of commands, snapshots and hashes have one version together. A cluster uses the version that its state
// says, which begins at 1, and which the leader raises by a command when all members support a higher one. It never
// falls. What a version brings is used only from then on: kinds of commands, by commandKind.since; another form of
// snapshots, by snapshotFormat; another definition of the hash, by state.mixEffect.
//
// An entry begins with the version that its commands need. One above the state's is refused whole, by all members
// alike, since every release reads that much of any entry. A member that is to apply what its release does not know,
// an entry or the command that raises the version, stops with ErrVersion: going on would make another state.
const (
	// formatVersion is the newest version that this release supports.
	formatVersion = 1
	// nextFormat is the version of a release that tests make of this one, see commandNext.
	nextFormat = formatVersion + 1
	// firstSnapshot is the number of the form of snapshots that version 1 uses.
	firstSnapshot = 3
)

// versionKey is where the log store keeps the version in use, so that a release that is too old says so at once.
var versionKey = []byte("keelson-format-version")

// since returns the version that brought a kind of command.
func (k commandKind) since() uint64 {
	if k == commandNext {
		return nextFormat
	}
	return 1
}

// snapshotFormat is the form of snapshots that a version uses.
func snapshotFormat(version uint64) byte { return byte(firstSnapshot - 1 + version) }

// supported is the newest version that a store knows: its release's, which only tests change.
func (c *Config) supported() uint64 {
	if c.release != 0 {
		return c.release
	}
	return formatVersion
}

// tooNew is the error of a member whose release is too old for its cluster.
func tooNew(what string, version, supported uint64) error {
	return fmt.Errorf("%w: %s version %d of the formats, and this release supports up to %d: run a newer one", ErrVersion, what, version, supported)
}

// entryVersion returns the version that commands need. They may be tagged.
func entryVersion(commands [][]byte) byte {
	version := uint64(1)
	for _, p := range commands {
		version = max(version, encodedKind(p).since())
	}
	return byte(version)
}

// encodedKind returns the kind of an encoded command behind its tag.
func encodedKind(p []byte) commandKind {
	if len(p) > 9 && commandKind(p[0]) == commandTagged {
		p = p[9:]
		for range 2 {
			_, n := binary.Uvarint(p)
			p = p[max(0, n):]
		}
	}
	if len(p) == 0 {
		return 0
	}
	return commandKind(p[0])
}

// usable refuses a command that the cluster does not use yet.
func (s *Store) usable(kind commandKind) error {
	if since := kind.since(); since > 1 {
		if v := s.current.Load(); since > v.version {
			return fmt.Errorf("%w: it needs version %d of the formats, and the cluster uses %d", ErrVersion, since, v.version)
		}
	}
	return nil
}

// understand decodes an entry into the machine's memory, all of it before any of it is applied. An entry that is
// refused has no commands.
func (m *machine) understand(p []byte) error {
	m.encoded, m.commands = m.encoded[:0], m.commands[:0]
	if len(p) > 0 && uint64(p[0]) > m.state.version {
		m.store.cfg.Logger.Sugar().Errorf("an entry of version %d was refused: the cluster uses version %d", p[0], m.state.version)
		return nil
	}
	supported := m.store.cfg.supported()
	if len(p) > 0 && uint64(p[0]) > supported {
		return tooNew("an entry uses", uint64(p[0]), supported)
	}
	encoded, err := decodeEntryInto(m.encoded, p)
	if err != nil {
		return err
	}
	m.encoded, m.commands = encoded, slices.Grow(m.commands, len(encoded))[:len(encoded)]
	for i, p := range encoded {
		c := &m.commands[i]
		if err := c.decodeInto(p); err != nil {
			return err
		}
		if since := c.kind.since(); since > supported {
			return tooNew("a command uses", since, supported)
		}
		if c.kind == commandRaise && c.version > supported {
			return tooNew("from here on the cluster uses", c.version, supported)
		}
	}
	return nil
}

// keepVersion writes the version in use where openVersion finds it.
func (d *durable) keepVersion(version uint64) {
	if d.versionKept < version {
		d.versionKept = version
		_ = d.logs.SetUint64(versionKey, version) // a log store that fails stops the member
	}
}

// openVersion refuses files that a newer release has used in its own formats.
func (d *durable) openVersion() error {
	version, err := d.logs.GetUint64(versionKey)
	if err != nil && err.Error() != "not found" { // as Raft itself tells it from others
		return err
	}
	d.versionKept = version
	if supported := d.store.cfg.supported(); version > supported {
		return tooNew("these files use", version, supported)
	}
	return nil
}

// raise is the leader's part: it has the version raised when all members, those without a vote too, were heard just
// now and support a higher one.
func (m *member) raise(now time.Time) {
	if !m.raising.over() {
		return
	}
	v := m.store.current.Load()
	target := m.store.willing()
	for _, s := range m.configuration().Servers {
		about, _ := v.about(string(s.ID))
		target = min(target, about.version)
		if s.ID == m.self {
			continue
		}
		h, found := m.tender.last(string(s.ID))
		if !found || now.Sub(h.at) > heardLately {
			return
		}
		target = min(target, h.willing)
	}
	if m.store.cfg.bugs.ungated {
		target = m.store.willing()
	}
	if target > v.version {
		m.store.cfg.Logger.Sugar().Infof("all members support version %d of the formats: the cluster uses it from now on", target)
		m.raising = m.submit(command{kind: commandRaise, version: target})
	}
}

// raiseAlone raises the version of a store that has no peers to ask.
func (d *durable) raiseAlone(ctx context.Context) error {
	target := d.store.willing()
	if target <= d.store.current.Load().version {
		return nil
	}
	p := d.submit(command{kind: commandRaise, version: target})
	_, err := p.wait(ctx)
	return err
}

// willing is the newest version that this store would have its cluster use.
func (s *Store) willing() uint64 {
	if hold := uint64(s.cfg.HoldVersion); hold > 0 {
		return min(hold, s.cfg.supported())
	}
	return s.cfg.supported()
}

// blockers says what keeps the cluster from using this release's version.
func (s *Store) blockers(v *view, members []MemberStatus) (all []string) {
	supported := s.cfg.supported()
	if v.version >= supported {
		return nil
	}
	for _, m := range members {
		switch {
		case m.Version == 0:
			all = append(all, fmt.Sprintf("member %q has not said yet what it supports", m.Name))
		case uint64(m.Version) < supported:
			all = append(all, fmt.Sprintf("member %q supports or is held at version %d", m.Name, m.Version))
		case !m.Known:
			all = append(all, fmt.Sprintf("member %q was not heard lately", m.Name))
		}
	}
	return slices.Clip(all)
}

// behind fails this member when the leader says that the cluster uses what it does not know.
func (m *member) behind(version uint64) {
	if supported := m.store.cfg.supported(); version > supported {
		m.fail(tooNew("the cluster uses", version, supported))
	}
}

// unready says why a member without a vote can't get one yet, on account of its version.
func (m *member) unready(s raft.Server, h heard) error {
	if version := m.store.current.Load().version; h.supported < version {
		return fmt.Errorf("member %q supports version %d of the formats, and the cluster uses %d: run a newer release there", s.ID, h.supported, version)
	}
	return nil
}

// abandon ends a Raft that began with an older snapshot, since the newest one is of a newer release.
func (d *durable) abandon(r *raft.Raft, err error) error {
	if r != nil {
		err = errors.Join(err, r.Shutdown().Error())
	}
	return err
}
