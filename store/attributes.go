package store

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/url"
	"slices"
)

// What a Config may have of client URLs.
const (
	maxClientURLs = 16
	maxClientURL  = 1024
)

// attributes are what a member says of itself: it proposes them when it has opened, if they are not what the state has
// of it, and so every member knows them of all. The leader proposes to forget those of who is no member any more.
type attributes struct {
	name    string
	version uint64 // the newest version of the formats that it can be with, see version.go
	urls    []string
	alarms  AlarmKind // what it is short of
}

func (a attributes) equal(b attributes) bool {
	return a.name == b.name && a.version == b.version && a.alarms == b.alarms && slices.Equal(a.urls, b.urls)
}

// MemberID returns the number by which etcd's API knows the member of this name. It is never 0, and the same at every
// member and for ever, since it comes from the name alone.
func MemberID(name string) uint64 {
	if name == "" {
		name = string(loneID)
	}
	sum := sha256.Sum256([]byte("keelson member " + name))
	return max(1, binary.BigEndian.Uint64(sum[:]))
}

func (c Config) validateClientURLs() error {
	if len(c.ClientURLs) > maxClientURLs {
		return fmt.Errorf("%w: ClientURLs has %d, %d are allowed", ErrConfig, len(c.ClientURLs), maxClientURLs)
	}
	for _, text := range c.ClientURLs {
		parsed, err := url.Parse(text)
		if err != nil || len(text) > maxClientURL || parsed.Scheme == "" || parsed.Host == "" && parsed.Path == "" {
			return fmt.Errorf("%w: ClientURLs has %q, want a URL such as https://10.0.0.1:2379", ErrConfig, text)
		}
	}
	return nil
}

// attributes returns what this store says of itself.
func (s *Store) attributes() attributes {
	return attributes{name: s.cfg.Name, version: s.willing(), urls: s.cfg.ClientURLs, alarms: s.alarms()}
}

// about returns what the member of this name has said of itself.
func (v *view) about(name string) (attributes, bool) {
	i, found := v.find(name)
	if !found {
		return attributes{}, false
	}
	return v.members[i], true
}

func (v *view) find(name string) (int, bool) {
	return slices.BinarySearchFunc(v.members, name, func(a attributes, name string) int { return cmp.Compare(a.name, name) })
}

// describe sets a member's attributes. Views share the slice, and so it is replaced.
func (st *state) describe(a attributes) result {
	i, found := st.find(a.name)
	members := slices.Clone(st.members)
	if found {
		members[i] = a
	} else {
		members = slices.Insert(members, i, a)
	}
	st.members = members
	return result{}
}

// forget drops a member's attributes.
func (st *state) forget(name string) result {
	if i, found := st.find(name); found {
		st.members = slices.Delete(slices.Clone(st.members), i, i+1)
	}
	return result{}
}

func (a *attributes) encode(p []byte) []byte {
	p = appendBytes(p, []byte(a.name))
	p = binary.AppendUvarint(p, a.version)
	p = binary.AppendUvarint(p, uint64(len(a.urls)))
	for _, u := range a.urls {
		p = appendBytes(p, []byte(u))
	}
	return append(p, byte(a.alarms))
}

func (d *decoder) attributes() *attributes {
	a := &attributes{name: string(d.bytes()), version: d.uint()}
	for n := d.count(); n > 0 && d.err == nil; n-- {
		a.urls = append(a.urls, string(d.bytes()))
	}
	a.alarms = AlarmKind(d.byte())
	return a
}

// describe has this member's attributes proposed if the state has others. It does not wait: it is called again.
func (m *member) describe() {
	if !m.describing.over() {
		return
	}
	mine := m.store.attributes()
	if has, found := m.store.current.Load().about(mine.name); !found || !has.equal(mine) {
		m.describing = m.submit(command{kind: commandDescribe, about: &mine})
	}
}

// forgetStrangers is the leader's part.
func (m *member) forgetStrangers() {
	if !m.forgetting.over() {
		return
	}
	members := m.known()
	for _, a := range m.store.current.Load().members {
		if !slices.ContainsFunc(members, func(p Peer) bool { return p.Name == a.name }) {
			m.forgetting = m.submit(command{kind: commandForget, name: a.name})
			return
		}
	}
}
