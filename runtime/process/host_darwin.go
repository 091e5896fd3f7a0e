package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// host starts and ends the processes of one pod: process groups are all there is to hold them together.
type host struct {
	dir       string
	isolation isolation
}

func isolations() []isolation { return []isolation{{}} }

func supervisorAttr(isolation) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func supervisorPath() (string, error) { return os.Executable() }

func newHost(dir string, i isolation, own bool, hostname string) (*host, error) {
	return &host{dir: dir, isolation: i}, nil
}

func (h *host) start(l *launch) (*launched, error) {
	path, err := lookPath(l.Args[0], l.Env)
	if err != nil {
		return nil, &launchError{reason: "find command " + l.Args[0], err: err}
	}
	dir := l.Dir
	if dir == "" {
		dir = "/"
	}
	attr := &syscall.ProcAttr{
		Dir: dir,
		Env: append(l.Env[:len(l.Env):len(l.Env)], markerEnv+"="+l.Container),
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: l.TTY},
	}
	for _, f := range l.Files {
		attr.Files = append(attr.Files, f.Fd())
	}
	if c := l.Credential; c != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: c.UID, Gid: c.GID, Groups: c.Groups}
	}
	pid, err := syscall.ForkExec(path, l.Args, attr)
	if err != nil {
		return nil, &launchError{reason: "execute " + l.Args[0], err: err}
	}
	p := &launched{pid: pid, done: make(chan struct{}), id: h.identify(pid)}
	go func() {
		var ws unix.WaitStatus
		var ru unix.Rusage
		_, err := unix.Wait4(pid, &ws, 0, &ru)
		for errors.Is(err, unix.EINTR) {
			_, err = unix.Wait4(pid, &ws, 0, &ru)
		}
		switch {
		case err != nil:
			p.code = 255
		case ws.Signaled():
			p.code = 128 + int(ws.Signal())
		default:
			p.code = ws.ExitStatus()
		}
		p.cpu = uint64(ru.Utime.Nano() + ru.Stime.Nano())
		close(p.done)
	}()
	return p, nil
}

func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%w (%s)", exec.ErrNotFound, path)
}

func (h *host) identify(pid int) processID {
	id := processID{PID: pid, Boot: bootID()}
	id.Start, _ = startTime(pid)
	return id
}

func (h *host) signal(p *launched, sig syscall.Signal) {
	select {
	case <-p.done:
	default:
		syscall.Kill(-p.pid, sig)
	}
}

func (h *host) killAll(container string, main *launched, only bool) {
	if main != nil {
		syscall.Kill(-main.pid, syscall.SIGKILL)
	}
}

func (h *host) usage(container string, main *launched) usage { return usage{} }

func openTerminal() (master, slave *os.File, err error) {
	return nil, nil, errors.New("terminals are not supported on darwin")
}

func resizeTerminal(*os.File, uint16, uint16) error { return nil }

// startTime returns when a process started, in microseconds since 1970.
func startTime(pid int) (uint64, bool) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil || info.Proc.P_pid != int32(pid) {
		return 0, false
	}
	const zombie = 5 // SZOMB
	t := info.Proc.P_starttime
	return uint64(t.Sec)*1e6 + uint64(t.Usec), info.Proc.P_stat != zombie
}

func bootID() string { return "" }

// socketPath returns a path to the socket in dir that fits a socket address, and what to call when it has been used.
func socketPath(dir string) (string, func(), error) {
	path := filepath.Join(dir, socketFile)
	if len(path) < 100 {
		return path, func() {}, nil
	}
	short, err := os.MkdirTemp("/tmp", "keelson-")
	if err != nil {
		return "", nil, err
	}
	link := filepath.Join(short, "d")
	if err := os.Symlink(dir, link); err != nil {
		os.RemoveAll(short)
		return "", nil, err
	}
	return filepath.Join(link, socketFile), func() { os.RemoveAll(short) }, nil
}
