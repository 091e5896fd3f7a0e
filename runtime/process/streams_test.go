//go:build linux || darwin

package process_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"github.com/keelson-dev/keelson/runtime/process"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestExecStreams(t *testing.T) {
	for name, config := range modes {
		t.Run(name, func(t *testing.T) {
			r := open(t, config)
			p := newPod(t, r, "one")
			id := p.start(containerConfig("c", "sleep", "1000"))

			big := strings.Repeat("0123456789abcdef", 40_000)
			var out bytes.Buffer
			err := r.StreamExec(t.Context(), id, []string{"cat"}, kruntime.Streams{Stdin: strings.NewReader(big), Stdout: &out})
			require.NoError(t, err)
			require.Equal(t, len(big), out.Len())

			// Cut off although the command never reads what it is sent.
			ctx, cancel := context.WithCancel(t.Context())
			reads := 0
			stdin := readerFunc(func(b []byte) (int, error) {
				if reads++; reads == 4 { // more than a pipe holds has been sent
					cancel()
				}
				return copy(b, big), nil
			})
			err = r.StreamExec(ctx, id, []string{"sleep", "27182"}, kruntime.Streams{Stdin: stdin, Stdout: io.Discard})
			require.Equal(t, codes.Canceled, status.Code(err), "%v", err)

			err = r.StreamExec(t.Context(), id, nil, kruntime.Streams{})
			require.Equal(t, codes.InvalidArgument, status.Code(err))
			capped, _, err := r.ExecSync(t.Context(), id, []string{"sh", "-c", "head -c 3000000 /dev/zero"}, 0)
			require.NoError(t, err)
			require.Len(t, capped, 1<<20)
		})
	}
}

func TestTerminal(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("terminals need Linux")
	}
	r := open(t, process.Config{})
	p := newPod(t, r, "one")
	id := p.start(containerConfig("c", "sleep", "1000"))
	var out bytes.Buffer
	resized := false
	stdin, feed := io.Pipe()
	err := r.StreamExec(t.Context(), id, []string{"sh", "-c", "read x; stty size; test -t 0 && echo tty; exit 3"}, kruntime.Streams{
		Stdin: stdin, Stdout: &out, TTY: true,
		Resize: func(ctx context.Context) (kruntime.TerminalSize, error) {
			if !resized {
				resized = true
				return kruntime.TerminalSize{Width: 123, Height: 45}, nil
			}
			go feed.Write([]byte("go\n")) // the first size has been sent
			<-ctx.Done()
			return kruntime.TerminalSize{}, ctx.Err()
		},
	})
	feed.Close()
	var exit *kruntime.ExitError
	require.True(t, errors.As(err, &exit), "%v", err)
	require.Equal(t, 3, exit.Code)
	require.Contains(t, out.String(), "45 123\r\n")
	require.Contains(t, out.String(), "tty\r\n")
}

func TestAttach(t *testing.T) {
	r := open(t, process.Config{})
	p := newPod(t, r, "one")
	config := containerConfig("c", "sh", "-c", "read x; echo got $x; read y; exit 6")
	config.Stdin, config.StdinOnce = true, true
	id := p.start(config)
	var out bytes.Buffer
	stdin, feed := io.Pipe()
	written := writerFunc(func(b []byte) (int, error) {
		out.Write(b)
		feed.Close() // end of the input, so the second read fails
		return len(b), nil
	})
	go feed.Write([]byte("it\n"))
	require.NoError(t, r.StreamAttach(t.Context(), id, kruntime.Streams{Stdin: stdin, Stdout: written}))
	require.Equal(t, "got it\n", out.String())
	require.EqualValues(t, 6, p.exit(id).ExitCode)
	require.Contains(t, p.log("c"), " stdout F got it\n")
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestPortForward(t *testing.T) {
	r := open(t, process.Config{})
	p := newPod(t, r, "one")
	answer, err := r.PodSandboxStatus(t.Context(), p.id, false)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", net.JoinHostPort(answer.Status.Network.Ip, "0"))
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		io.Copy(conn, conn)
	}()
	here, there, err := socketPair(t)
	require.NoError(t, err)
	ended := make(chan error, 1)
	port := int32(listener.Addr().(*net.TCPAddr).Port)
	go func() { ended <- r.StreamPortForward(t.Context(), p.id, port, there) }()
	_, err = here.Write([]byte("ping"))
	require.NoError(t, err)
	require.NoError(t, here.CloseWrite())
	got, err := io.ReadAll(here)
	require.NoError(t, err)
	require.Equal(t, "ping", string(got))
	require.NoError(t, <-ended)
	here.Close()

	require.Equal(t, codes.InvalidArgument, status.Code(r.StreamPortForward(t.Context(), p.id, 70000, there)))
	require.Equal(t, codes.NotFound, status.Code(r.StreamPortForward(t.Context(), "none", 80, there)))
	listener.Close()
	require.Equal(t, codes.Unavailable, status.Code(r.StreamPortForward(t.Context(), p.id, port, there)))
}

func socketPair(t *testing.T) (here, there *net.TCPConn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	s, err := l.Accept()
	if err != nil {
		return nil, nil, err
	}
	return c.(*net.TCPConn), s.(*net.TCPConn), nil
}

// A log that was replaced by a link is not written through, and a flood does not hold the container up.
func TestLogs(t *testing.T) {
	r := open(t, process.Config{})
	p := newPod(t, r, "one")
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("kept"), 0o600))
	require.NoError(t, os.MkdirAll(p.logs, 0o755))
	require.NoError(t, os.Symlink(secret, filepath.Join(p.logs, "linked.log")))
	id, err := r.CreateContainer(t.Context(), p.id, containerConfig("linked", "echo", "overwritten"), nil)
	require.NoError(t, err)
	require.Error(t, r.StartContainer(t.Context(), id))
	content, err := os.ReadFile(secret)
	require.NoError(t, err)
	require.Equal(t, "kept", string(content))

	id = p.start(containerConfig("flood", "sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x; echo; printf end"))
	require.Zero(t, p.exit(id).ExitCode)
	length, lines := 0, strings.Split(strings.TrimSuffix(p.log("flood"), "\n"), "\n")
	for i, line := range lines {
		fields := strings.SplitN(line, " ", 4)
		require.Len(t, fields, 4)
		want := "P"
		if i >= len(lines)-2 {
			want = "F"
		}
		require.Equal(t, want, fields[2], "line %d of %d", i, len(lines))
		length += len(fields[3])
	}
	require.Equal(t, 5000000+len("end"), length)
}

// A signal is reported as shells do.
func TestSignalled(t *testing.T) {
	r := open(t, process.Config{})
	p := newPod(t, r, "one")
	id := p.start(containerConfig("c", "sh", "-c", "kill -USR1 $$"))
	require.EqualValues(t, 128+int(syscall.SIGUSR1), p.exit(id).ExitCode)
	config := containerConfig("d", "sh", "-c", "trap 'exit 9' INT; echo ready; while :; do sleep 0.01; done")
	config.StopSignal = runtimeapi.Signal_SIGNAL_SIGINT
	id = p.start(config)
	require.NoError(t, r.StopContainer(t.Context(), id, 30))
	s, _ := p.status(id)
	require.Contains(t, []int32{9, 130}, s.ExitCode, "130 when the trap was not set yet")
}
