package client

import (
	"fmt"
	"strconv"
)

// FormatRevision is a revision as metadata.resourceVersion writes it.
func FormatRevision(revision int64) string { return strconv.FormatInt(revision, 10) }

// ParseRevision reads metadata.resourceVersion; empty is 0.
func ParseRevision(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || s != FormatRevision(n) {
		return 0, fmt.Errorf("resource version %q: want a decimal number without leading zeros", s)
	}
	return n, nil
}
