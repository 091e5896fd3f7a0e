package proctest

import "syscall"

// dieWithUs has the system kill a process when this one ends, however that comes about.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
