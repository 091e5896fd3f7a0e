//go:build linux || darwin

package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// supervisorEnv holds the directory of the sandbox that the process is the supervisor of.
	supervisorEnv = "KEELSON_SUPERVISOR"
	// isolationEnv holds the namespaces it was started in, as JSON.
	isolationEnv = "KEELSON_SUPERVISOR_ISOLATION"
	// mainEnv holds the pid of a process that has called Main. Children that inherit it have another pid.
	mainEnv = "KEELSON_SUPERVISOR_MAIN"

	supported = true

	// readyTimeout is how long a new supervisor may take, on a machine that has other things to do.
	readyTimeout = 30 * time.Second
)

// Main lets the program supervise pods: call it first thing in main, or in TestMain. It returns at once in a program
// that was started by a user. In one that a Runtime started as the supervisor of a pod it never returns.
func Main() {
	if os.Getenv(supervisorEnv) == "" {
		os.Setenv(mainEnv, strconv.Itoa(os.Getpid()))
		return
	}
	os.Exit(supervise())
}

// mainCalled reports whether this process may be executed again as a supervisor.
func mainCalled() bool { return os.Getenv(mainEnv) == strconv.Itoa(os.Getpid()) }

// readiness is what a new supervisor tells the agent over its pipe.
type readiness struct {
	Error string `json:"error,omitempty"`
}

// supervise is the supervisor's main. Descriptor 3 is the lock, 4 the pipe for readiness; the directory is the
// sandbox's.
func supervise() int {
	lock, ready := os.NewFile(3, "lock"), os.NewFile(4, "ready")
	syscall.CloseOnExec(3)
	syscall.CloseOnExec(4)
	dir := os.Getenv(supervisorEnv)
	var i isolation
	err := json.Unmarshal([]byte(os.Getenv(isolationEnv)), &i)
	// Caught and dropped, not ignored: what is ignored would stay so in the containers.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	debug.SetGCPercent(50)

	var s *supervisor
	if err == nil {
		s, err = newSupervisor(dir, i, true)
	}
	var answer readiness
	if err != nil {
		answer.Error = err.Error()
	}
	content, _ := json.Marshal(answer)
	ready.Write(content)
	ready.Close()
	if err != nil {
		return 1
	}
	go func() {
		<-term
		s.end()
	}()
	<-s.ended
	lock.Close()
	return 0
}

// lockDir takes the sandbox's lock. It is free when no supervisor lives, and only then.
func lockDir(dir string) (*os.File, bool, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, true, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, false, nil
	}
	return nil, false, &os.PathError{Op: "lock", Path: dir, Err: err}
}

// spawn starts a supervisor process and waits until it is ready. The lock passes to it.
func spawn(dir, name string, i isolation, lock *os.File) error {
	path, err := supervisorPath()
	if err != nil {
		return err
	}
	stderr, err := os.OpenFile(filepath.Join(dir, stderrFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer stderr.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	level, err := json.Marshal(i)
	if err != nil {
		return err
	}
	cmd := &exec.Cmd{
		Path: path,
		Args: []string{"keelson-supervisor", name},
		Dir:  dir,
		Env: []string{supervisorEnv + "=" + dir, isolationEnv + "=" + string(level), "GOMAXPROCS=2", "GOTRACEBACK=all",
			"GORACE=atexit_sleep_ms=0"}, // in a program built with -race: else each supervisor ends a second late
		Stderr:      stderr,
		ExtraFiles:  []*os.File{lock, w},
		SysProcAttr: supervisorAttr(i),
	}
	if v, ok := os.LookupEnv("GOCOVERDIR"); ok {
		cmd.Env = append(cmd.Env, "GOCOVERDIR="+v)
	}
	err = cmd.Start()
	w.Close()
	if err != nil {
		for _, refusal := range []error{syscall.EPERM, syscall.EACCES, syscall.ENOSPC, syscall.EUSERS, syscall.EINVAL, syscall.ENOSYS} {
			if errors.Is(err, refusal) { // what clone(2) answers where namespaces are forbidden or used up
				return fmt.Errorf("%w: start the supervisor: %w", errDenied, err)
			}
		}
		return fmt.Errorf("start the supervisor: %w", err)
	}
	id := processID{PID: cmd.Process.Pid, Boot: bootID()}
	id.Start, _ = startTime(id.PID)
	cmd.Process.Release()

	var answer readiness
	r.SetReadDeadline(time.Now().Add(readyTimeout))
	if err := json.NewDecoder(r).Decode(&answer); err != nil {
		syscall.Kill(id.PID, syscall.SIGKILL)
		collect(id.PID)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("%w after %s", errNotReady, readyTimeout)
		}
		said, _ := os.ReadFile(filepath.Join(dir, stderrFile))
		return fmt.Errorf("the supervisor ended before it was ready: %s", firstLines(string(said)))
	}
	if answer.Error != "" {
		collect(id.PID)
		return fmt.Errorf("%w: %s", errDenied, answer.Error)
	}
	return nil
}

func firstLines(s string) string {
	if lines := strings.SplitN(strings.TrimSpace(s), "\n", 4); len(lines) > 3 {
		return strings.Join(lines[:3], "; ")
	} else {
		return strings.Join(lines, "; ")
	}
}

// collectEnded collects a process that has just ended or is about to, if it is a child of ours.
func collectEnded(id processID) {
	if start, _ := startTime(id.PID); id.PID > 0 && start == id.Start {
		collect(id.PID)
	}
}

// collect waits for an ended child, so that no zombie stays. It returns at once for other processes.
func collect(pid int) {
	for {
		_, err := syscall.Wait4(pid, nil, 0, nil)
		if !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}

// alive reports whether exactly this process runs.
func alive(id processID) bool {
	if id.PID <= 0 || id.Boot != bootID() {
		return false
	}
	start, ok := startTime(id.PID)
	return ok && start == id.Start
}

// killLeftover kills a process that outlived its supervisor, and its group.
func killLeftover(id processID) {
	if alive(id) {
		syscall.Kill(-id.PID, syscall.SIGKILL)
		syscall.Kill(id.PID, syscall.SIGKILL)
	}
}

// stopSignal is the signal that asks a container to end. Those nobody stops a program with count as the default.
func stopSignal(s runtimeapi.Signal) syscall.Signal {
	switch s {
	case runtimeapi.Signal_SIGNAL_SIGINT:
		return syscall.SIGINT
	case runtimeapi.Signal_SIGNAL_SIGQUIT:
		return syscall.SIGQUIT
	case runtimeapi.Signal_SIGNAL_SIGHUP:
		return syscall.SIGHUP
	case runtimeapi.Signal_SIGNAL_SIGKILL:
		return syscall.SIGKILL
	case runtimeapi.Signal_SIGNAL_SIGUSR1:
		return syscall.SIGUSR1
	case runtimeapi.Signal_SIGNAL_SIGUSR2:
		return syscall.SIGUSR2
	case runtimeapi.Signal_SIGNAL_SIGWINCH:
		return syscall.SIGWINCH
	default:
		return syscall.SIGTERM
	}
}
