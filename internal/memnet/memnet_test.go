package memnet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/stretchr/testify/require"
)

func ExampleListener() {
	l := memnet.Listen("greeter")
	done := make(chan error)
	go func() {
		done <- http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") }))
	}()
	client := http.Client{Transport: &http.Transport{DialContext: l.DialContext}}
	res, err := client.Get("http://greeter/")
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := io.ReadAll(res.Body)
	fmt.Println(string(body))
	l.Close()
	fmt.Println(errors.Is(<-done, net.ErrClosed))
	// Output:
	// hello
	// true
}

func ExamplePipe() {
	a, b := memnet.Pipe()
	a.Write([]byte("nobody has to read yet"))
	a.Close()
	all, err := io.ReadAll(b)
	fmt.Println(string(all), err)
	// Output: nobody has to read yet <nil>
}

func connect(t *testing.T) (l *memnet.Listener, client, server net.Conn) {
	l = memnet.Listen("here")
	client, err := l.Dial(t.Context())
	require.NoError(t, err)
	server, err = l.Accept()
	require.NoError(t, err)
	return l, client, server
}

func TestBytesArriveInOrder(t *testing.T) {
	l, client, server := connect(t)
	defer l.Close()
	require.Equal(t, "here", client.RemoteAddr().String())
	require.Equal(t, client.LocalAddr(), server.RemoteAddr())
	require.Equal(t, "mem", server.LocalAddr().Network())
	for i := range 1000 {
		_, err := fmt.Fprintf(client, "%04d", i)
		require.NoError(t, err)
	}
	for i := range 1000 {
		var p [4]byte
		_, err := io.ReadFull(server, p[:])
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%04d", i), string(p[:]))
	}
}

func TestCloseWriteLeavesTheOtherDirection(t *testing.T) {
	l, client, server := connect(t)
	defer l.Close()
	_, err := client.Write([]byte("request"))
	require.NoError(t, err)
	require.NoError(t, client.(*memnet.Conn).CloseWrite())
	got, err := io.ReadAll(server)
	require.NoError(t, err)
	require.Equal(t, "request", string(got))
	_, err = server.Write([]byte("answer"))
	require.NoError(t, err)
	require.NoError(t, server.Close())
	got, err = io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "answer", string(got))
	_, err = client.Write([]byte("more"))
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestCloseFailsThePeersWrites(t *testing.T) {
	l, client, server := connect(t)
	defer l.Close()
	require.NoError(t, server.Close())
	_, err := client.Write([]byte("x"))
	require.ErrorIs(t, err, syscall.EPIPE)
	_, err = server.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = client.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, client, server := connect(t)
		defer l.Close()
		start := time.Now()
		require.NoError(t, client.SetReadDeadline(start.Add(time.Hour)))
		_, err := client.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout())
		require.Equal(t, time.Hour, time.Since(start))

		// A deadline set later ends a read that waits already.
		require.NoError(t, client.SetReadDeadline(time.Time{}))
		failed := make(chan error)
		go func() {
			_, err := client.Read(make([]byte, 1))
			failed <- err
		}()
		synctest.Wait()
		require.NoError(t, client.SetDeadline(time.Now().Add(time.Minute)))
		require.ErrorIs(t, <-failed, os.ErrDeadlineExceeded)
		_, err = client.Write([]byte("x"))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)

		require.NoError(t, client.SetDeadline(time.Time{}))
		_, err = server.Write([]byte("y"))
		require.NoError(t, err)
		n, err := client.Read(make([]byte, 8))
		require.NoError(t, err)
		require.Equal(t, 1, n)
	})
}

func TestListenerCloseEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, client, server := connect(t)
		waiting, err := l.Dial(t.Context())
		require.NoError(t, err)
		_, err = l.Accept()
		require.NoError(t, err)
		ended := make(chan error)
		for _, c := range []net.Conn{client, server, waiting} {
			go func() {
				_, err := c.Read(make([]byte, 1))
				ended <- err
			}()
		}
		go func() {
			_, err := l.Accept()
			ended <- err
		}()
		synctest.Wait()
		require.NoError(t, l.Close())
		require.NoError(t, l.Close())
		for range 4 {
			require.ErrorIs(t, <-ended, net.ErrClosed)
		}
		_, err = l.Dial(t.Context())
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	})
}

func TestDialHonoursItsContext(t *testing.T) {
	l := memnet.Listen("here")
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := l.Dial(ctx)
	require.ErrorIs(t, err, context.Canceled)
}
