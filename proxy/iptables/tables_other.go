//go:build !linux

package iptables

import (
	"fmt"
	"runtime"
)

func open(bool) (Tables, error) {
	return nil, fmt.Errorf("not supported on %s", runtime.GOOS)
}
