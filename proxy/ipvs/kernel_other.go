//go:build !linux

package ipvs

import (
	"fmt"
	"runtime"
)

func open(string) (Kernel, error) {
	return nil, fmt.Errorf("not supported on %s", runtime.GOOS)
}
