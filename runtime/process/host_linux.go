package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// host starts, finds and ends the processes of one pod.
type host struct {
	dir       string
	isolation isolation
	procs     *os.File // the agent's /proc when ours is the pod's own; nil means /proc

	// mu is held while a process is started, so that the reaper of orphans never takes one that is ours.
	mu   sync.Mutex
	ours map[int]bool
}

// isolations are what a supervisor may be started with, best first.
func isolations() []isolation {
	all := []isolation{
		{User: true, Mount: true, PID: true},
		{User: true, Mount: true},
		{},
	}
	if os.Geteuid() == 0 {
		all = append([]isolation{{Mount: true, PID: true}, {Mount: true}}, all...)
	}
	return all
}

// supervisorAttr starts a supervisor in its namespaces. An ordinary user keeps its ids inside a user namespace; its
// capabilities there have to be ambient to survive execve.
func supervisorAttr(i isolation) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if i.Mount {
		attr.Cloneflags |= unix.CLONE_NEWNS | unix.CLONE_NEWUTS
	}
	if i.PID {
		attr.Cloneflags |= unix.CLONE_NEWPID
	}
	if i.User {
		uid, gid := os.Geteuid(), os.Getegid()
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT, unix.CAP_SYS_PTRACE, unix.CAP_KILL,
			unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_CHOWN, unix.CAP_FOWNER}
	}
	return attr
}

// supervisorPath is the file to execute: also right when the program's file was replaced or removed since it started.
func supervisorPath() (string, error) { return "/proc/self/exe", nil }

// newHost prepares the calling process for a pod. In a supervisor (own) that means its namespaces, and reaping.
func newHost(dir string, i isolation, own bool, hostname string) (*host, error) {
	h := &host{dir: dir, isolation: i, ours: map[int]bool{}}
	if !own {
		return h, nil
	}
	if i.Mount {
		if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
			return nil, fmt.Errorf("detach mounts: %w", err)
		}
		if hostname != "" {
			if err := unix.Sethostname([]byte(hostname)); err != nil {
				return nil, fmt.Errorf("set hostname: %w", err)
			}
		}
	}
	if i.PID {
		procs, err := os.Open("/proc")
		if err != nil {
			return nil, err
		}
		h.procs = procs
		if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return nil, fmt.Errorf("mount /proc: %w", err)
		}
	} else if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become subreaper: %w", err)
	}
	if i.Mount {
		// Putting a root together is what most often is not allowed, so it is tried before the pod depends on it.
		probe := make(chan error, 1)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread is in another namespace from now on
			_, err := newRoot(filepath.Join(dir, rootDir), nil, false)
			probe <- err
		}()
		if err := <-probe; err != nil {
			return nil, fmt.Errorf("make a root: %w", err)
		}
	}
	chld := make(chan os.Signal, 1)
	signal.Notify(chld, unix.SIGCHLD)
	go func() {
		for range chld {
			h.reapOrphans()
		}
	}()
	return h, nil
}

// start starts a process on a thread of its own, which stays until the process has ended: its namespaces and its
// parent-death signal hang on the thread.
func (h *host) start(l *launch) (*launched, error) {
	p := &launched{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := h.startOnThread(l, p)
		started <- err
		if err != nil {
			return
		}
		var ws unix.WaitStatus
		var ru unix.Rusage
		for {
			_, err = unix.Wait4(p.pid, &ws, 0, &ru)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		h.mu.Lock()
		delete(h.ours, p.pid)
		h.mu.Unlock()
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
	if err := <-started; err != nil {
		if p.nsFile != nil && l.Join == nil {
			p.nsFile.Close()
		}
		return nil, err
	}
	return p, nil
}

func (h *host) startOnThread(l *launch, p *launched) error {
	switch {
	case h.isolation.Mount && l.Join != nil:
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("leave the thread's root: %w", err)
		}
		if err := unix.Setns(int(l.Join.nsFile.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter the container's mounts: %w", err)
		}
		p.mountNS, p.nsFile = l.Join.mountNS, l.Join.nsFile
	case h.isolation.Mount:
		ns, err := newRoot(filepath.Join(h.dir, rootDir), l.Mounts, l.ReadonlyRoot)
		if err != nil {
			return err
		}
		p.nsFile = ns
		if p.mountNS, err = os.Readlink("/proc/thread-self/ns/mnt"); err != nil {
			return err
		}
	default:
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("leave the thread's directory: %w", err)
		}
	}
	dir := l.Dir
	if dir == "" {
		dir = "/"
	}
	if err := unix.Chdir(dir); err != nil {
		return &launchError{reason: "working directory " + dir, err: err}
	}
	path, err := lookPath(l.Args[0], l.Env)
	if err != nil {
		return &launchError{reason: "find command " + l.Args[0], err: err}
	}
	if h.isolation.User {
		if err := dropAmbient(); err != nil {
			return fmt.Errorf("drop capabilities: %w", err)
		}
	}
	if l.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("set no_new_privs: %w", err)
		}
	}
	attr := &syscall.ProcAttr{
		Env: append(l.Env[:len(l.Env):len(l.Env)], markerEnv+"="+l.Container),
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Setctty: l.TTY},
	}
	for _, f := range l.Files {
		attr.Files = append(attr.Files, f.Fd())
	}
	if c := l.Credential; c != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: c.UID, Gid: c.GID, Groups: c.Groups}
		for _, f := range l.Files { // so that it can open /dev/stdout; never a device of the host's, like /dev/null
			if info, err := f.Stat(); err == nil && (l.TTY || info.Mode()&os.ModeNamedPipe != 0) {
				f.Chown(int(c.UID), -1)
			}
		}
	}
	h.mu.Lock()
	pid, err := syscall.ForkExec(path, l.Args, attr)
	if err == nil {
		h.ours[pid] = true
	}
	h.mu.Unlock()
	runtime.KeepAlive(l.Files)
	if err != nil {
		return &launchError{reason: "execute " + l.Args[0], err: err}
	}
	p.pid = pid
	p.id = h.identify(pid)
	return nil
}

// lookPath finds a command by the container's own PATH, in the root and directory of the calling thread.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	for _, dir := range filepath.SplitList(path) {
		if dir == "" {
			dir = "."
		}
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			if !strings.Contains(file, "/") {
				file = "./" + file
			}
			return file, nil
		}
	}
	return "", fmt.Errorf("%w (%s)", exec.ErrNotFound, path)
}

// dropAmbient takes from the calling thread what would let its child keep capabilities over execve.
func dropAmbient() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return err
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	return unix.Capset(&head, &data[0])
}

// identify returns how the agent knows the process that is pid to us.
func (h *host) identify(pid int) processID {
	id := processID{PID: pid, Boot: bootID()}
	if h.procs != nil {
		// fdinfo of a pidfd tells the pid in the pid namespace of the /proc that it is read from.
		id.PID = 0 // unknown, unless it is found
		fd, err := unix.PidfdOpen(pid, 0)
		if err == nil {
			info, _ := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/self/fdinfo/%d", h.procs.Fd(), fd))
			unix.Close(fd)
			for line := range strings.Lines(string(info)) {
				if v, ok := strings.CutPrefix(line, "Pid:"); ok {
					if n, err := strconv.Atoi(strings.TrimSpace(v)); err == nil && n > 0 {
						id.PID = n
					}
				}
			}
		}
	}
	id.Start, _ = startTime(pid)
	return id
}

// signal signals the process group of a process.
func (h *host) signal(p *launched, sig syscall.Signal) {
	select {
	case <-p.done:
	default:
		syscall.Kill(-p.pid, sig)
	}
}

// killAll kills all processes of a container, and what they start meanwhile; with only, just that process's session.
func (h *host) killAll(container string, main *launched, only bool) {
	for round := range 200 {
		found := h.processes(container, main, only)
		if len(found) == 0 {
			return
		}
		for _, pid := range found {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(min(time.Duration(round)*time.Millisecond, 20*time.Millisecond))
	}
}

// processes finds the living processes of a container: those in its mount namespace, its session, or with its marker.
func (h *host) processes(container string, main *launched, only bool) []int {
	var found []int
	marker := []byte(markerEnv + "=" + container + "\x00")
	for _, pid := range pids() {
		stat, err := readStat(pid)
		if err != nil || stat.state == 'Z' || stat.state == 'X' || pid == os.Getpid() {
			continue
		}
		same := main != nil && stat.session == main.pid && stat.start >= main.id.Start
		if !same && !only {
			dir := "/proc/" + strconv.Itoa(pid)
			if main != nil && main.mountNS != "" {
				ns, err := os.Readlink(dir + "/ns/mnt")
				same = err == nil && ns == main.mountNS
			} else {
				env, err := os.ReadFile(dir + "/environ")
				same = err == nil && bytes.Contains(append(env, 0), marker)
			}
		}
		if same {
			found = append(found, pid)
		}
	}
	return found
}

// usage adds up what a container's living processes use.
func (h *host) usage(container string, main *launched) usage {
	u := usage{Known: true}
	for _, pid := range h.processes(container, main, false) {
		if stat, err := readStat(pid); err == nil {
			u.Processes++
			u.CPU += (stat.utime + stat.stime) * (uint64(time.Second) / clockTicks)
			u.RSS += stat.rss * uint64(os.Getpagesize())
			u.Faults += stat.faults
			if main != nil && pid == main.pid {
				u.CPU += (stat.cutime + stat.cstime) * (uint64(time.Second) / clockTicks)
			}
		}
	}
	return u
}

// reapOrphans waits for children that others left to us.
func (h *host) reapOrphans() {
	self := os.Getpid()
	for _, pid := range pids() {
		stat, err := readStat(pid)
		if err != nil || stat.state != 'Z' || stat.parent != self {
			continue
		}
		h.mu.Lock()
		if !h.ours[pid] {
			unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
		h.mu.Unlock()
	}
}
