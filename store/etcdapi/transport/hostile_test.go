package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// message is one with its prefix.
func message(content ...byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(content))), content...)
}

func headers(id uint32, path string, more ...string) []byte {
	return frame(frameHeaders, flagEndHeaders, id, append(call(path), block(more...)...)...)
}

// answers are what a server says of calls, by their streams.
type answers struct {
	fields map[uint32]map[string]string
	data   map[uint32][]byte
	resets map[uint32]uint32
}

// read reads answers until those of all the streams have ended.
func (r raw) read(streams ...uint32) answers {
	a := answers{map[uint32]map[string]string{}, map[uint32][]byte{}, map[uint32]uint32{}}
	ended := map[uint32]bool{}
	for slices.ContainsFunc(streams, func(id uint32) bool { return !ended[id] }) {
		kind, flags, id, payload := r.next()
		switch kind {
		case frameGoAway:
			r.t.Fatalf("the connection ends: %s", payload[8:])
		case frameHeaders:
			for last := flags&flagEndHeaders != 0; !last; {
				kind, more, of, rest := r.next()
				require.EqualValues(r.t, frameContinuation, kind)
				require.Equal(r.t, id, of)
				payload, last = append(payload, rest...), more&flagEndHeaders != 0
			}
			fields, err := r.decoder.DecodeFull(payload)
			require.NoError(r.t, err)
			if a.fields[id] == nil {
				a.fields[id] = map[string]string{}
			}
			for _, f := range fields {
				a.fields[id][f.Name] = f.Value
			}
		case frameData:
			a.data[id] = append(a.data[id], payload...)
		case frameReset:
			a.resets[id] = binary.BigEndian.Uint32(payload)
			flags |= flagEndStream
		default:
			continue
		}
		if flags&flagEndStream != 0 {
			ended[id] = true
		}
	}
	return a
}

// serveRaw serves some methods of test to a raw client, with what s gets to do before.
func serveRaw(t testing.TB, cfg Config, with func(s *Server)) raw {
	server, err := New(cfg)
	require.NoError(t, err)
	echoes := func(_ any, stream grpc.ServerStream) error {
		for in := new(wrapperspb.BytesValue); ; {
			switch err := stream.RecvMsg(in); {
			case err == io.EOF:
				return nil
			case err != nil:
				return err
			}
			if err := stream.SendMsg(in); err != nil {
				return err
			}
		}
	}
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "t",
		Methods: []grpc.MethodDesc{{MethodName: "echo", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.BytesValue)
			return in, decode(in)
		}}},
		Streams: []grpc.StreamDesc{
			{StreamName: "echoes", Handler: echoes, ServerStreams: true, ClientStreams: true},
			{StreamName: "deaf", Handler: func(any, grpc.ServerStream) error { return nil }, ServerStreams: true, ClientStreams: true},
		},
	}, nil)
	server.methods["/q/q"] = quickMethod()
	if with != nil {
		with(server)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = nc.Close()
		require.NoError(t, server.Close())
		require.NoError(t, <-served)
	})
	require.NoError(t, nc.SetDeadline(time.Now().Add(30*time.Second)))
	return raw{nc, t, hpack.NewDecoder(4096, nil)}
}

// TestBrokenCalls lists faults that end a call and not the connection.
func TestBrokenCalls(t *testing.T) {
	open := headers(1, "/t/echo")
	bomb := slices.Concat(call("/t/echo"), block("a", strings.Repeat("b", 3000)), bytes.Repeat([]byte{0x80 | 62}, 10_000))
	for name, c := range map[string]struct {
		parts [][]byte
		code  codes.Code
		says  string
	}{
		"no message":         {[][]byte{frame(frameHeaders, flagEndHeaders|flagEndStream, 1, call("/t/echo")...)}, codes.Internal, "one message"},
		"half a message":     {[][]byte{open, frame(frameData, flagEndStream, 1, message(make([]byte, 10)...)[:8]...)}, codes.Internal, "one message"},
		"two messages":       {[][]byte{open, frame(frameData, flagEndStream, 1, append(message(), message()...)...)}, codes.Internal, "one message"},
		"compressed":         {[][]byte{open, frame(frameData, flagEndStream, 1, 1, 0, 0, 0, 0)}, codes.Unimplemented, "compressed"},
		"no protocol buffer": {[][]byte{open, frame(frameData, flagEndStream, 1, message(0xff)...)}, codes.Internal, "error unmarshalling request"},
		"cut in a stream":    {[][]byte{headers(1, "/t/echoes"), frame(frameData, flagEndStream, 1, message(make([]byte, 10)...)[:8]...)}, codes.Internal, "unexpected EOF"},
		"a header bomb":      {[][]byte{frame(frameHeaders, flagEndHeaders|flagEndStream, 1, bomb...)}, codes.ResourceExhausted, "headers have"},
		"too large":          {[][]byte{open, frame(frameData, 0, 1, 0, 0xff, 0xff, 0xff, 0xff)}, codes.ResourceExhausted, "larger than max"},
		"a service":          {[][]byte{frame(frameHeaders, flagEndHeaders|flagEndStream, 1, call("/x/echo")...)}, codes.Unimplemented, "unknown service x"},
		"a method":           {[][]byte{frame(frameHeaders, flagEndHeaders|flagEndStream, 1, call("/t/none")...)}, codes.Unimplemented, "unknown method none for service t"},
	} {
		t.Run(name, func(t *testing.T) {
			r := serveRaw(t, Config{}, nil)
			r.send(append([][]byte{hello()}, c.parts...)...)
			first := r.read(1)
			require.Equal(t, strconv.Itoa(int(c.code)), first.fields[1]["grpc-status"], "%v", first.fields)
			require.Contains(t, first.fields[1]["grpc-message"], c.says)
			r.send(frame(frameHeaders, flagEndHeaders, 3, call("/t/echo")...), frame(frameData, flagEndStream, 3, message()...))
			require.Equal(t, "0", r.read(3).fields[3]["grpc-status"], "the connection goes on")
		})
	}
}

// TestResets opens calls and resets them at once: no more of them run than are allowed.
func TestResets(t *testing.T) {
	w := new(waiting)
	r := serveRaw(t, Config{MaxStreams: 50}, func(s *Server) { s.methods["/q/wait"] = w.method() })
	parts := [][]byte{hello()}
	for i := range uint32(5000) {
		parts = append(parts, headers(2*i+1, "/q/wait"), frame(frameData, flagEndStream, 2*i+1, message()...), appendReset(nil, 2*i+1, codeCancel))
	}
	go func() { _, _ = r.Write(slices.Concat(append(parts, frame(framePing, 0, 0, make([]byte, 8)...))...)) }()
	for kind, flags := byte(0), byte(0); kind != framePing || flags != flagAck; {
		kind, flags, _, _ = r.next()
	}
	require.LessOrEqual(t, w.most.Load(), int64(50))
}

// TestAnswersThatWait has a client that takes no answers open calls: they count until it has taken them.
func TestAnswersThatWait(t *testing.T) {
	r := serveRaw(t, Config{MaxStreams: 3}, nil)
	r.send([]byte(preface), appendSettings(nil, [2]uint32{settingInitialWindow, 0}))
	var all []uint32
	for i := range uint32(5) {
		r.send(headers(2*i+1, "/q/q"), frame(frameData, flagEndStream, 2*i+1, message(1, 2)...))
		all = append(all, 2*i+1)
	}
	for refused := []uint32{}; len(refused) < 2; {
		if kind, _, id, payload := r.next(); kind == frameReset {
			require.EqualValues(t, codeRefused, binary.BigEndian.Uint32(payload))
			refused = append(refused, id)
			require.Contains(t, all[3:], id)
		}
	}
	r.send(appendSettings(nil, [2]uint32{settingInitialWindow, 100}))
	a := answers{data: map[uint32][]byte{}}
	for ends := 0; ends < 3; {
		kind, flags, id, payload := r.next()
		if kind == frameData {
			a.data[id] = append(a.data[id], payload...)
		}
		if flags&flagEndStream != 0 && kind == frameHeaders {
			ends++
		}
	}
	for _, id := range all[:3] {
		require.Equal(t, message(1, 2), a.data[id])
	}
}

// TestWindows lets both windows run out together, and widens them in small steps, in either order.
func TestWindows(t *testing.T) {
	const size = 300_000 // of each of two answers, and a connection has 65,535
	for _, streamFirst := range []bool{false, true} {
		r := serveRaw(t, Config{}, nil)
		content := bytes.Repeat([]byte("0123456789"), size/10)
		r.send(hello())
		for _, id := range []uint32{1, 3} {
			r.send(headers(id, "/q/q"))
			for rest := message(content...); len(rest) > 0; {
				n := min(len(rest), maxFrame)
				flags := byte(0)
				if n == len(rest) {
					flags = flagEndStream
				}
				r.send(frame(frameData, flags, id, rest[:n]...))
				rest = rest[n:]
			}
		}
		got, windows := map[uint32][]byte{}, map[uint32]int{0: defaultWindow, 1: defaultWindow, 3: defaultWindow}
		for len(got[1])+len(got[3]) < 2*(size+prefixLen) {
			kind, _, id, payload := r.next(frameSettings, frameWindow, frameHeaders)
			require.EqualValues(t, frameData, kind)
			got[id] = append(got[id], payload...)
			for _, of := range []uint32{0, id} {
				windows[of] -= len(payload)
				require.GreaterOrEqual(t, windows[of], 0, "window of %d", of)
			}
			if windows[0] > 0 && windows[id] > 0 {
				continue
			}
			order := []uint32{0, 1, 3}
			if streamFirst {
				slices.Reverse(order)
			}
			for i, of := range order {
				by := 7001 + 5000*i
				windows[of] += by
				r.send(appendWindow(nil, of, uint32(by)))
			}
		}
		require.True(t, bytes.Equal(message(content...), got[1]))
		require.True(t, bytes.Equal(message(content...), got[3]))
	}
}

// TestHeldMessages has a client begin many large messages and end none.
func TestHeldMessages(t *testing.T) {
	r := serveRaw(t, Config{}, nil)
	part := append(message(make([]byte, 4<<20)...)[:prefixLen], make([]byte, maxFrame-prefixLen)...)
	go func() {
		all := hello()
		for i := range uint32(maxHeld/streamWindow + 10) {
			all = append(append(all[:0:0], all...), headers(2*i+1, "/t/echo")...)
			for n := 0; n < streamWindow; n += len(part) {
				all = append(all, frame(frameData, 0, 2*i+1, part...)...)
			}
			if _, err := r.Write(all); err != nil {
				return
			}
			all = nil
		}
	}()
	kind, _, _, payload := r.next(frameSettings, frameWindow)
	require.EqualValues(t, frameHeaders, kind)
	require.Contains(t, string(payload), "wait on the connection")
}

// TestUnreadMessages has calls end that have not received what their client has sent: that does not count any more.
func TestUnreadMessages(t *testing.T) {
	r := serveRaw(t, Config{}, nil)
	unread := frame(frameData, 0, 0, append(message(make([]byte, 60_000)...)[:prefixLen], make([]byte, maxFrame-prefixLen)...)...)
	r.send(hello())
	const calls = 5000 // which leave 80 MB unread
	for i := range uint32(calls) {
		id := 2*i + 1
		data := slices.Clone(unread)
		binary.BigEndian.PutUint32(data[5:], id)
		r.send(headers(id, "/t/deaf"), data)
		require.Equal(r.t, "0", r.read(id).fields[id]["grpc-status"])
	}
	r.send(headers(2*calls+1, "/t/echoes"), frame(frameData, flagEndStream, 2*calls+1, message()...))
	require.Equal(t, "0", r.read(2*calls + 1).fields[2*calls+1]["grpc-status"])
}

// TestLongStatus has a message that takes more than one frame of headers.
func TestLongStatus(t *testing.T) {
	long := strings.Repeat("abc", 30_000)
	r := serveRaw(t, Config{}, func(s *Server) {
		s.methods["/q/long"] = &method{path: "/q/long", unary: &grpc.MethodDesc{}, quick: func(_ *Call, _, answer []byte) ([]byte, bool, error) {
			return answer, true, status.Error(codes.NotFound, long)
		}}
	})
	r.send(hello(), headers(1, "/q/long"), frame(frameData, flagEndStream, 1, message()...))
	require.Equal(t, long, r.read(1).fields[1]["grpc-message"])
}

// TestDead has frames of calls that could not be answered, because nothing can be written: they mean nothing any more.
func TestDead(t *testing.T) {
	server, err := New(Config{})
	require.NoError(t, err)
	server.methods["/q/q"] = quickMethod()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := newConn(server, ours)
	c.dead = true // as a writer finds
	for _, path := range []string{"/q/q", "/q/none"} {
		id := c.last + 2 + (c.last+1)%2
		require.NoError(t, c.frame(frameHeaders, flagEndHeaders, id, call(path)))
		require.NoError(t, c.frame(frameData, 0, id, message(1, 2)[:3]))
		require.NoError(t, c.frame(frameData, flagEndStream, id, message(1, 2)[3:]))
		require.NoError(t, c.frame(frameData, 0, id, []byte{1}))
		require.Empty(t, c.streams)
	}
	c.to = 1
	_, err = c.next(1)
	require.ErrorIs(t, err, net.ErrClosed)
	require.NoError(t, server.Close())
}

// FuzzConnection sends whatever, in two parts, and then what breaks the protocol: the server closes.
func FuzzConnection(f *testing.F) {
	f.Add(headers(1, "/t/echo"), byte(1))
	f.Add(append(headers(1, "/t/echo"), frame(frameData, flagEndStream, 1, message(10, 1, 'x')...)...), byte(3))
	f.Add(append(headers(1, "/t/echoes"), frame(frameData, 0, 1, message(10, 1, 'x')...)...), byte(200))
	f.Add(append(frame(frameHeaders, 0, 1, call("/q/wait")...), frame(frameContinuation, flagEndHeaders, 1)...), byte(9))
	r := serveRaw(f, Config{MaxMessageBytes: 10_000, MaxStreams: 20}, func(s *Server) { s.methods["/q/wait"] = new(waiting).method() })
	f.Fuzz(func(t *testing.T, frames []byte, cut byte) {
		nc, err := net.Dial("tcp", r.RemoteAddr().String())
		if err != nil {
			t.Skip(err) // no ports are left for now
		}
		defer nc.Close()
		all := slices.Concat(hello(), frames, frame(frameReset, 0, 0, 0))
		n := min(len(all), len(preface)+int(cut))
		for _, part := range [][]byte{all[:n], all[n:]} {
			if _, err := nc.Write(part); err != nil {
				return
			}
		}
		_ = nc.(*net.TCPConn).CloseWrite()
		_ = nc.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, err = io.Copy(io.Discard, nc)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server does not close")
	})
}
