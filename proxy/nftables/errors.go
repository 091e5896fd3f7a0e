package nftables

import "errors"

// ErrUnsupported is the sentinel for a machine that has no nftables, or does not let us use it.
var ErrUnsupported = errors.New("nftables is not usable on this machine")
