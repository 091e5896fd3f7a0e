package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// traced is a system call that a child made on a file, in the order in which they ended. A line that it said on its
// standard output has the call "say".
type traced struct {
	call     string
	path, to string
	at       int64
	data     []byte
}

// A syscallInfo is what PTRACE_GET_SYSCALL_INFO fills in (ptrace(2), Linux 5.3).
type syscallInfo struct {
	op   uint8
	_    [3]uint8
	arch uint32
	_    [2]uint64
	nr   uint64 // or what the call returned
	args [6]uint64
}

// tracer follows a process and all its threads.
type tracer struct {
	root    string // what is outside is not looked at
	entered map[int]syscallInfo
	partial map[int]traced // what was entered, as far as it was known then
	events  []traced
}

// traceCalls runs the command to its end and returns what it did to the files below root.
func traceCalls(t *testing.T, cmd *exec.Cmd, root string) []traced {
	t.Helper()
	runtime.LockOSThread() // a tracer is a thread
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Setpgid: true}
	if err := cmd.Start(); errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) {
		t.Skipf("this system does not let a process trace its child: %v", err)
	} else {
		require.NoError(t, err)
	}
	pid := cmd.Process.Pid
	defer func() { _ = cmd.Process.Release() }()
	var status syscall.WaitStatus
	_, err := syscall.Wait4(pid, &status, 0, nil)
	require.NoError(t, err)
	const exitKill = 0x100000
	require.NoError(t, syscall.PtraceSetOptions(pid, syscall.PTRACE_O_TRACESYSGOOD|syscall.PTRACE_O_TRACECLONE|exitKill))
	tr := &tracer{root: root, entered: map[int]syscallInfo{}, partial: map[int]traced{}}
	require.NoError(t, syscall.PtraceSyscall(pid, 0))
	for {
		thread, err := syscall.Wait4(-pid, &status, syscall.WALL, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		require.NoError(t, err)
		if status.Exited() || status.Signaled() {
			if thread == pid {
				require.Zero(t, status.ExitStatus(), "the child failed: %s", cmd.Stderr)
				return tr.events
			}
			continue
		}
		signal := 0
		switch stop := status.StopSignal(); {
		case stop == syscall.SIGTRAP|0x80:
			if err := tr.stopped(thread); !errors.Is(err, syscall.ESRCH) { // it may have ended since
				require.NoError(t, err)
			}
		case stop != syscall.SIGTRAP && stop != syscall.SIGSTOP:
			signal = int(stop)
		}
		if err := syscall.PtraceSyscall(thread, signal); !errors.Is(err, syscall.ESRCH) {
			require.NoError(t, err)
		}
	}
}

func (tr *tracer) stopped(thread int) error {
	var info syscallInfo
	const getInfo = 0x420e
	_, _, errno := syscall.Syscall6(syscall.SYS_PTRACE, getInfo, uintptr(thread), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return fmt.Errorf("PTRACE_GET_SYSCALL_INFO: %w", errno)
	}
	const entry, exit = 1, 2
	switch info.op {
	case entry:
		tr.entered[thread] = info
		e, err := tr.enter(thread, info.nr, info.args)
		if err != nil {
			return err
		}
		tr.partial[thread] = e
	case exit:
		tr.exit(thread, tr.entered[thread], int64(info.nr), tr.partial[thread])
	}
	return nil
}

// enter looks at what will be gone, or written over, when the call ends.
func (tr *tracer) enter(thread int, nr uint64, args [6]uint64) (e traced, err error) {
	switch nr {
	case unix.SYS_WRITE:
		if args[0] == 1 {
			data, err := memory(thread, args[1], args[2])
			tr.events = append(tr.events, traced{call: "say", data: data})
			return e, err
		}
		if e.path = tr.file(thread, args[0]); e.path == "" {
			return e, nil
		}
		e.call = "write"
		if e.at, err = position(thread, args[0]); err == nil {
			e.data, err = memory(thread, args[1], args[2])
		}
	case unix.SYS_PWRITE64:
		if e.path = tr.file(thread, args[0]); e.path != "" {
			e.call, e.at = "write", int64(args[3])
			e.data, err = memory(thread, args[1], args[2])
		}
	case unix.SYS_FTRUNCATE:
		e = traced{call: "size", path: tr.file(thread, args[0]), at: int64(args[1])}
	case unix.SYS_FALLOCATE:
		e = traced{call: "grow", path: tr.file(thread, args[0]), at: int64(args[2] + args[3])}
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		e = traced{call: "sync", path: tr.file(thread, args[0])}
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		e.call = "rename"
		if e.path, err = tr.name(thread, args[1]); err == nil {
			e.to, err = tr.name(thread, args[3])
		}
	case unix.SYS_UNLINKAT:
		e.call = "remove"
		e.path, err = tr.name(thread, args[1])
	}
	return e, err
}

func (tr *tracer) exit(thread int, in syscallInfo, result int64, e traced) {
	if result < 0 {
		return
	}
	if in.nr == unix.SYS_OPENAT {
		e.path = tr.file(thread, uint64(result))
		switch flags := in.args[2]; {
		case flags&unix.O_TRUNC != 0:
			e.call = "create"
		case flags&unix.O_CREAT != 0:
			e.call = "make"
		}
	}
	if e.call == "" || e.path == "" {
		return
	}
	if e.call == "write" {
		e.data = e.data[:result]
	}
	tr.events = append(tr.events, e)
}

// file returns the path of what a descriptor is open on, empty if that is outside of root.
func (tr *tracer) file(thread int, fd uint64) string {
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", thread, fd))
	if err != nil || !strings.HasPrefix(path, tr.root) {
		return ""
	}
	return path
}

func (tr *tracer) name(thread int, at uint64) (string, error) {
	p, err := memory(thread, at, 1) // a path may end where what can be read does
	for err == nil && p[len(p)-1] != 0 && len(p) < 4096 {
		var next []byte
		next, err = memory(thread, at+uint64(len(p)), 1)
		p = append(p, next...)
	}
	path, _, _ := bytes.Cut(p, []byte{0})
	if err != nil || !strings.HasPrefix(string(path), tr.root) {
		return "", err
	}
	return filepath.Clean(string(path)), nil
}

func memory(thread int, at, n uint64) ([]byte, error) {
	p := make([]byte, n)
	if n == 0 {
		return p, nil
	}
	local := []unix.Iovec{{Base: &p[0]}}
	local[0].SetLen(len(p))
	got, err := unix.ProcessVMReadv(thread, local, []unix.RemoteIovec{{Base: uintptr(at), Len: int(n)}}, 0)
	if err == nil && got != len(p) {
		err = errors.New("short read of a process's memory")
	}
	return p, err
}

func position(thread int, fd uint64) (at int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", thread, fd))
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscanf(string(text), "pos: %d", &at)
	return at, err
}
