//go:build !linux

package kubelet

import (
	"errors"
	goruntime "runtime"
)

// machineMemory is known on Linux only; elsewhere Config.Capacity has to say it.
func machineMemory() (int64, error) {
	return 0, errors.New("not supported on " + goruntime.GOOS + ": set Config.Capacity")
}

func machineSystem() (image, kernel string) { return goruntime.GOOS, "" }
