//go:build unix && !linux

package proctest

import "syscall"

// dieWithUs has nothing to offer here: a member notices that its standard input has ended.
func dieWithUs() *syscall.SysProcAttr { return nil }
