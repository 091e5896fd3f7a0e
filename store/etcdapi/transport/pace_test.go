package transport

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2/hpack"
)

// bubble runs a test with a connection whose other end the test has, in a bubble where time is the test's.
func bubble(t *testing.T, test func(t *testing.T, server *Server, r raw)) {
	synctest.Test(t, func(t *testing.T) {
		server, err := New(Config{})
		require.NoError(t, err)
		server.methods["/q/q"] = quickMethod()
		ours, theirs := net.Pipe()
		server.accept(ours)
		defer func() {
			_ = theirs.Close()
			require.NoError(t, server.Close())
		}()
		test(t, server, raw{theirs, t, hpack.NewDecoder(4096, nil)})
	})
}

// ended requires that the server closes the connection after a while.
func (r raw) ended(after time.Duration) {
	begun := time.Now()
	for {
		if _, err := r.Read(make([]byte, 1000)); err != nil {
			require.ErrorIs(r.t, err, io.EOF)
			require.Equal(r.t, after, time.Since(begun))
			return
		}
	}
}

// TestGreeting has clients that do not say, or not to the end, what they speak.
func TestGreeting(t *testing.T) {
	for _, said := range []string{"", preface[:20]} {
		bubble(t, func(t *testing.T, _ *Server, r raw) {
			r.send([]byte(said))
			r.ended(greetTime)
		})
	}
}

// TestPings has a client ping often: that is allowed while it is answered.
func TestPings(t *testing.T) {
	ping := frame(framePing, 0, 0, []byte("12345678")...)
	pong := func(r raw) bool {
		kind, flags, _, payload := r.next(frameSettings, frameWindow, frameHeaders, frameData)
		if kind == frameGoAway {
			require.EqualValues(r.t, codeCalm, binary.BigEndian.Uint32(payload[4:]))
			require.Equal(r.t, tooManyPings, string(payload[8:]))
			return false
		}
		require.EqualValues(r.t, framePing, kind)
		require.EqualValues(r.t, flagAck, flags)
		require.Equal(r.t, "12345678", string(payload))
		return true
	}
	for name, c := range map[string]struct {
		every   time.Duration
		answers bool
		most    int
	}{
		"often":              {time.Second, false, 3},
		"seldom":             {minPing, false, 20},
		"often with answers": {0, true, 20},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, _ *Server, r raw) {
				go func() { _, _ = r.Write(hello()) }()
				r.next()
				n := 0
				for ; n < 20; n++ {
					time.Sleep(c.every)
					go func() {
						if c.answers {
							_, _ = r.Write(append(headers(uint32(2*n+1), "/q/q"), frame(frameData, flagEndStream, uint32(2*n+1), message(1, 2)...)...))
						}
						_, _ = r.Write(ping)
					}()
					if !pong(r) {
						break
					}
				}
				require.Equal(t, c.most, n, "pings that were answered")
			})
		})
	}
}

// TestSilence has a client say nothing for long: it is asked, and when it does not answer it is gone.
func TestSilence(t *testing.T) {
	bubble(t, func(t *testing.T, _ *Server, r raw) {
		r.send(hello())
		begun := time.Now()
		for range 3 {
			kind, flags, _, payload := r.next(frameSettings, frameWindow)
			require.EqualValues(t, framePing, kind)
			require.Zero(t, flags)
			require.Equal(t, areYouThere, string(payload))
			require.GreaterOrEqual(t, time.Since(begun), 2*time.Hour)
			require.LessOrEqual(t, time.Since(begun), 2*time.Hour+tick+pongTime)
			r.send(frame(framePing, flagAck, 0, payload...))
			begun = time.Now()
		}
		kind, _, _, _ := r.next()
		require.EqualValues(t, framePing, kind)
		r.ended(pongTime)
	})
}

// TestReadsNothing has a client that reads nothing of an answer: the connection ends, and one that reads slowly stays.
func TestReadsNothing(t *testing.T) {
	const size = 500_000
	ask := append(hello(), appendSettings(nil, [2]uint32{settingInitialWindow, maxWindow})...)
	ask = append(append(ask, appendWindow(nil, 0, maxWindow-defaultWindow)...), headers(1, "/q/q")...)
	for rest := message(make([]byte, size)...); len(rest) > 0; {
		n, flags := min(len(rest), maxFrame), byte(0)
		if n == len(rest) {
			flags = flagEndStream
		}
		ask, rest = append(ask, frame(frameData, flags, 1, rest[:n]...)...), rest[n:]
	}
	bubble(t, func(t *testing.T, _ *Server, r raw) {
		go func() { _, _ = r.Write(ask) }()
		time.Sleep(writeTime + time.Second)
		_, err := r.Read(make([]byte, 10))
		require.ErrorIs(t, err, io.EOF)
	})
	bubble(t, func(t *testing.T, _ *Server, r raw) {
		go func() { _, _ = r.Write(ask) }()
		begun, all := time.Now(), 0
		for part := make([]byte, writePiece/4); all < size; {
			n, err := r.Read(part)
			require.NoError(t, err)
			all += n
			time.Sleep(writeTime / 10)
		}
		require.Greater(t, time.Since(begun), writeTime)
	})
}

// TestDrain follows what a client is told that is to go elsewhere.
func TestDrain(t *testing.T) {
	bubble(t, func(t *testing.T, server *Server, r raw) {
		go func() { _, _ = r.Write(hello()) }()
		kind, _, _, _ := r.next()
		require.EqualValues(t, frameSettings, kind)
		r.next() // the connection's window
		r.next() // the settings' acknowledgement
		over := make(chan error, 1)
		go func() { over <- server.Shutdown(t.Context()) }()
		kind, _, _, payload := r.next()
		require.EqualValues(t, frameGoAway, kind)
		require.EqualValues(t, maxWindow, binary.BigEndian.Uint32(payload))
		kind, _, _, payload = r.next()
		require.EqualValues(t, framePing, kind)
		// A call that the client opens before it knows is answered, and its message is on its way when it does.
		go func() { _, _ = r.Write(append(headers(1, "/q/q"), frame(framePing, flagAck, 0, payload...)...)) }()
		kind, _, _, payload = r.next()
		require.EqualValues(t, frameGoAway, kind)
		require.EqualValues(t, 1, binary.BigEndian.Uint32(payload))
		go func() {
			_, _ = r.Write(append(headers(3, "/q/q"), frame(frameData, flagEndStream, 1, message(1, 2)...)...))
		}()
		kind, _, id, payload := r.next()
		require.EqualValues(t, frameReset, kind)
		require.EqualValues(t, 3, id)
		require.EqualValues(t, codeRefused, binary.BigEndian.Uint32(payload))
		require.Equal(t, message(1, 2), r.read(1).data[1])
		r.ended(0) // a pipe can't be closed by half
		require.NoError(t, <-over)
	})
	// A client that does not answer the ping has a second, and one that reads nothing does not hold up more than ctx.
	bubble(t, func(t *testing.T, server *Server, r raw) {
		r.send(hello())
		synctest.Wait()
		go func() { _ = server.Shutdown(t.Context()) }()
		r.ended(settleTime)
	})
	bubble(t, func(t *testing.T, server *Server, r raw) {
		r.send(hello())
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begun := time.Now()
		require.ErrorIs(t, server.Shutdown(ctx), context.DeadlineExceeded)
		require.Equal(t, 5*time.Second, time.Since(begun))
	})
	bubble(t, func(t *testing.T, server *Server, r raw) { // one that has not said what it speaks
		require.NoError(t, server.Shutdown(t.Context()))
		r.ended(0)
	})
}

// TestHangUp has the server end while the client still sends and has an answer to read: it gets all of it.
func TestHangUp(t *testing.T) {
	const size = 60_000
	var server *Server
	r := serveRaw(t, Config{}, func(s *Server) { server = s })
	require.NoError(t, r.Conn.(*net.TCPConn).SetReadBuffer(2<<10)) // so that most of the answer stays on the other side
	r.send(hello(), headers(1, "/q/q"))
	for rest := message(make([]byte, size)...); len(rest) > 0; {
		n, flags := min(len(rest), maxFrame), byte(0)
		if n == len(rest) {
			flags = flagEndStream
		}
		r.send(frame(frameData, flags, 1, rest[:n]...))
		rest = rest[n:]
	}
	kind, _, _, _ := r.next(frameSettings, frameWindow)
	require.EqualValues(t, frameHeaders, kind, "the answer begins")
	server.mu.Lock()
	var c *conn
	for c = range server.conns {
	}
	server.mu.Unlock()
	c.drain()
	c.settle()
	over := make(chan error, 1)
	go func() { over <- server.Shutdown(t.Context()) }()
	<-c.idle
	for range 100 {
		if _, err := r.Write(frame(framePriority, 0, 1, make([]byte, 5)...)); err != nil {
			break
		}
	}
	got := 0
	for {
		var header [frameHeaderLen]byte
		_, err := io.ReadFull(r, header[:])
		if err == io.EOF {
			break
		}
		require.NoError(t, err, "no reset, after %d bytes", got)
		length := int(header[1])<<8 | int(header[2])
		_, err = io.CopyN(io.Discard, r, int64(length))
		require.NoError(t, err)
		if header[3] == frameData {
			got += length
		}
	}
	require.Equal(t, size+prefixLen, got)
	require.NoError(t, r.Close())
	require.NoError(t, <-over)
}
