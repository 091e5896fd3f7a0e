package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// location is where an entry is.
type location struct {
	segment *segment
	offset  int64
	size    uint32
}

// state is what the frames amount to. The log has the entries from first on, below next. Where they are is known from
// start on; what is before start, if anything, was in segments that are gone.
type state struct {
	first, next, start uint64
	places             []location
	keys               map[string][]byte
}

func newState() *state { return &state{first: 1, next: 1, start: 1, keys: map[string][]byte{}} }

func (s *state) empty() bool { return s.first == s.next }

// find returns where an entry is.
func (s *state) find(index uint64) (location, bool) {
	if index < s.first || index >= s.next || index < s.start {
		return location{}, false
	}
	return s.places[index-s.start], true
}

// append adds entries. Behind a gap the log begins anew.
func (s *state) append(first uint64, places []location) {
	if s.empty() || first != s.next {
		s.first, s.next, s.start = first, first, first
		s.places = nil // not cut to zero, which would keep segments alive
	}
	s.places = append(s.places, places...)
	s.next += uint64(len(places))
}

// again takes in that all entries are somewhere else.
func (s *state) again(places []location) {
	s.start, s.places = s.first, places
}

// drop takes away the entries below index.
func (s *state) drop(index uint64) {
	s.first = index
	if index <= s.start {
		return
	}
	n := int(index - s.start)
	clear(s.places[:n])
	s.places = s.places[n:]
	s.start = index
}

// cut takes away the entries from index on.
func (s *state) cut(index uint64) {
	s.next = index
	if index < s.start {
		s.start, s.places = index, nil
		return
	}
	clear(s.places[index-s.start:])
	s.places = s.places[:index-s.start]
}

// oldest returns the number of the oldest segment with an entry, or the given one if there is no entry.
func (s *state) oldest(newest uint64) uint64 {
	if len(s.places) == 0 {
		return newest
	}
	return s.places[0].segment.number
}

// encode appends the content of a state frame.
func (s *state) encode(p []byte) []byte {
	p = binary.LittleEndian.AppendUint64(p, s.first)
	p = binary.LittleEndian.AppendUint64(p, s.next)
	for _, key := range slices.Sorted(maps.Keys(s.keys)) {
		p = appendKey(p, key, s.keys[key])
	}
	return p
}

// begin takes in the content of the first state frame that there is.
func (s *state) begin(p []byte) error {
	if len(p) < 16 {
		return errors.New("a state ends too early")
	}
	s.first, s.next = binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])
	if s.first > s.next {
		return fmt.Errorf("a state from entry %d on and below %d", s.first, s.next)
	}
	s.start = s.next
	for p = p[16:]; len(p) > 0; {
		key, value, rest, err := cutKey(p)
		if err != nil {
			return err
		}
		s.keys[key], p = slices.Clone(value), rest
	}
	return nil
}

// apply takes in a frame other than the first, which is at offset in a segment.
func (s *state) apply(f frame, in *segment, offset int64) error {
	switch f.kind {
	case kindState:
		if string(f.content) != string(s.encode(nil)) {
			return errors.New("a segment begins with another state than the one before ends with")
		}
	case kindEntries:
		first, places, err := decodePlaces(f.content, in, offset+frameHead)
		if err != nil {
			return err
		}
		if !s.empty() && first < s.next {
			return fmt.Errorf("%d entries from %d on, below %d", len(places), first, s.next)
		}
		s.append(first, places)
	case kindAgain:
		first, places, err := decodePlaces(f.content, in, offset+frameHead)
		if err != nil {
			return err
		}
		if first != s.first || uint64(len(places)) != s.next-s.first {
			return fmt.Errorf("%d entries from %d on are written again, of a log from %d on and below %d", len(places), first, s.first, s.next)
		}
		s.again(places)
	case kindDrop, kindCut:
		if len(f.content) != 8 {
			return fmt.Errorf("an index of %d bytes", len(f.content))
		}
		index := binary.LittleEndian.Uint64(f.content)
		if index < s.first || index > s.next {
			return fmt.Errorf("deletion at entry %d of a log from %d on and below %d", index, s.first, s.next)
		}
		if f.kind == kindDrop {
			s.drop(index)
		} else {
			s.cut(index)
		}
	case kindSet:
		key, value, rest, err := cutKey(f.content)
		if err != nil || len(rest) > 0 {
			return fmt.Errorf("a key with %d bytes behind it", len(rest))
		}
		s.keys[key] = slices.Clone(value)
	case kindClosed:
	default:
		return fmt.Errorf("a frame of kind %d", f.kind)
	}
	return nil
}

// decodePlaces returns where each of the entries in p is, which is at offset in a segment, and the index of the first.
func decodePlaces(p []byte, in *segment, offset int64) (first uint64, places []location, err error) {
	for len(p) > 0 {
		size, err := entrySize(p)
		if err != nil {
			return 0, nil, err
		}
		index := binary.LittleEndian.Uint64(p[16:])
		if places == nil {
			first = index
		}
		if index != first+uint64(len(places)) || index == 0 {
			return 0, nil, fmt.Errorf("entry %d stands where %d should", index, first+uint64(len(places)))
		}
		places = append(places, location{in, offset, uint32(size)})
		p, offset = p[size:], offset+int64(size)
	}
	if len(places) == 0 {
		return 0, nil, errors.New("a frame without entries")
	}
	return first, places, nil
}
