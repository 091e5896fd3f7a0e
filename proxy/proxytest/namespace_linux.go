package proxytest

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// inNamespace marks the process that runs a test inside its namespace.
const inNamespace = "KEELSON_PROXYTEST_NAMESPACE"

// InNamespace runs test in a process of its own with an empty network namespace, in which it may do what root does to
// a machine's network: only the loopback interface is there, and it is up. t must be a test, no subtest. Where the
// process may make no namespace, the test is skipped.
func InNamespace(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		if err := loopbackUp(); err != nil {
			t.Fatalf("bring up the loopback interface of the namespace: %v", err)
		}
		test(t)
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Skipf("skipped: this process may not make a network namespace (needs root or unprivileged user namespaces): %v", err)
	}
	err = cmd.Wait()
	text := strings.TrimSpace(out.String())
	if err != nil {
		t.Fatalf("in the namespace: %v\n%s", err, text)
	}
	if strings.Contains(text, "--- SKIP: "+t.Name()+" ") {
		t.Skipf("skipped in the namespace:\n%s", text)
	}
	t.Log(text)
}

// InUserNamespace reports whether this process is root only of a user namespace, as inside InNamespace when the test
// was started by an ordinary user.
func InUserNamespace() bool {
	m, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(m)), " ") != "0 0 4294967295"
}

// loopbackUp sets the interface's flag by ioctl, so that no program has to be installed for it.
func loopbackUp() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(fd) }()
	var req struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], "lo")
	req.flags = syscall.IFF_UP | syscall.IFF_RUNNING
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return errno
	}
	return nil
}
