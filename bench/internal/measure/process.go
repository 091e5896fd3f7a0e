package measure

import (
	"errors"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"time"
)

// MemberArgument makes a program of bench a server process.
const MemberArgument = "-member-of-bench"

// IsMember says that this process was made by Start and is to call Serve.
func IsMember() bool { return len(os.Args) == 2 && os.Args[1] == MemberArgument }

// Process is this program executed again as a server process.
type Process struct {
	cmd *exec.Cmd
	RPC *rpc.Client
}

// Start executes this program again with MemberArgument.
func Start() (*Process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &Process{cmd: exec.Command(program, MemberArgument)}
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.RPC = rpc.NewClient(pipe{out, in})
	return p, nil
}

// PID is the process' number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop ends the process and waits for it. One that does not end within half a minute is killed.
func (p *Process) Stop() error {
	err := p.RPC.Close()
	late := time.AfterFunc(30*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	return errors.Join(err, p.cmd.Wait())
}

// Serve answers net/rpc calls to a receiver's methods over two files, as those that Start's process has, until in ends.
func Serve(receiver any, in io.ReadCloser, out io.WriteCloser) error {
	connections := rpc.NewServer()
	if err := connections.Register(receiver); err != nil {
		return err
	}
	connections.ServeConn(pipe{in, out})
	return nil
}

// pipe is a connection made of two files.
type pipe struct {
	io.ReadCloser
	out io.WriteCloser
}

func (p pipe) Write(b []byte) (int, error) { return p.out.Write(b) }

func (p pipe) Close() error { return errors.Join(p.ReadCloser.Close(), p.out.Close()) }
