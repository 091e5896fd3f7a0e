package watch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Selector says which events a cursor sees. The zero Selector selects everything. At most one of Key, Prefix and the
// range From, To may be set; Terms restrict further.
type Selector struct {
	// Key selects the events of one key. Empty means any.
	Key string
	// Prefix selects the keys that start with it. Empty means any.
	Prefix string
	// From and To select the keys k with From <= k < To. An empty To means no upper bound.
	From, To string
	// Terms selects events of which Config.Index returned at least one of these terms. Empty means any.
	Terms []string
}

func (s Selector) validate() error {
	forms := 0
	for _, set := range []bool{s.Key != "", s.Prefix != "", s.From != "" || s.To != ""} {
		if set {
			forms++
		}
	}
	if forms > 1 {
		return fmt.Errorf("%w: only one of Key, Prefix and From/To may be set, got %+v", ErrSelector, s)
	}
	if s.To != "" && s.From >= s.To {
		return fmt.Errorf("%w: From %q is not below To %q", ErrSelector, s.From, s.To)
	}
	return nil
}

// everything reports whether s selects all events.
func (s Selector) everything() bool {
	return s.Key == "" && s.Prefix == "" && s.From == "" && s.To == "" && len(s.Terms) == 0
}

func (s Selector) matchKey(key string) bool {
	switch {
	case s.Key != "":
		return key == s.Key
	case s.Prefix != "":
		return strings.HasPrefix(key, s.Prefix)
	default:
		return key >= s.From && (s.To == "" || key < s.To)
	}
}

func (s Selector) matchTerms(terms []string) bool {
	if len(s.Terms) == 0 {
		return true
	}
	for _, term := range terms {
		if slices.Contains(s.Terms, term) {
			return true
		}
	}
	return false
}

// canonical returns s with a range that is a prefix written as one, and terms sorted; id names it uniquely.
func (s Selector) canonical() Selector {
	if s.From != "" && s.To != "" && s.To == prefixEnd(s.From) {
		s = Selector{Prefix: s.From, Terms: s.Terms}
	}
	if len(s.Terms) > 0 {
		s.Terms = slices.Clone(s.Terms)
		slices.Sort(s.Terms)
		s.Terms = slices.Compact(s.Terms)
	}
	return s
}

func (s Selector) id() string {
	var b strings.Builder
	for _, part := range append([]string{s.Key, s.Prefix, s.From, s.To}, s.Terms...) {
		b.WriteString(strconv.Itoa(len(part)))
		b.WriteByte(':')
		b.WriteString(part)
	}
	return b.String()
}

// prefixEnd returns the smallest string above all that start with prefix, or "" if there is none.
func prefixEnd(prefix string) string {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			return prefix[:i] + string([]byte{prefix[i] + 1})
		}
	}
	return ""
}
