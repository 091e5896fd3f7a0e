//go:build !linux

package proxytest

import (
	"runtime"
	"testing"
)

// InNamespace skips the test: network namespaces are Linux'.
func InNamespace(t *testing.T, _ func(t *testing.T)) {
	t.Helper()
	t.Skipf("skipped: network namespaces are not supported on %s", runtime.GOOS)
}

// InUserNamespace is false: user namespaces are Linux'.
func InUserNamespace() bool { return false }
