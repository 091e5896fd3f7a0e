package transport

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
)

// raw is a client that says what it likes.
type raw struct {
	net.Conn
	t       testing.TB
	decoder *hpack.Decoder
}

// dialRaw connects to a server that has the method /q/q, and /q/wait whose calls wait for their end.
func dialRaw(t testing.TB, cfg Config) raw {
	server, err := New(cfg)
	require.NoError(t, err)
	server.methods["/q/q"], server.methods["/q/wait"] = quickMethod(), new(waiting).method()
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

// next returns the next frame's kind, flags and payload; of settings, windows and pings only those that are wanted.
func (r raw) next(skip ...byte) (kind, flags byte, id uint32, payload []byte) {
	for {
		var header [frameHeaderLen]byte
		_, err := io.ReadFull(r, header[:])
		require.NoError(r.t, err)
		payload = make([]byte, int(header[0])<<16|int(header[1])<<8|int(header[2]))
		require.LessOrEqual(r.t, len(payload), maxFrame)
		_, err = io.ReadFull(r, payload)
		require.NoError(r.t, err)
		if !slices.Contains(skip, header[3]) {
			return header[3], header[4], binary.BigEndian.Uint32(header[5:]), payload
		}
	}
}

func (r raw) send(parts ...[]byte) {
	_, err := r.Write(slices.Concat(parts...))
	require.NoError(r.t, err)
}

func block(fields ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return b.Bytes()
}

func frame(kind, flags byte, id uint32, payload ...byte) []byte {
	return append(appendFrameHeader(nil, len(payload), kind, flags, id), payload...)
}

func hello() []byte { return append([]byte(preface), frame(frameSettings, 0, 0)...) }

func call(path string) []byte {
	return block(":method", "POST", ":scheme", "http", ":path", path, ":authority", "x", "content-type", "application/grpc", "te", "trailers")
}

// TestBroken lists what ends a connection, with the code that the client is told.
func TestBroken(t *testing.T) {
	big := make([]byte, maxFrame+1)
	known := frame(frameHeaders, flagEndHeaders, 1, call("/q/q")...)
	for name, c := range map[string]struct {
		code uint32
		send [][]byte
	}{
		"no settings":          {codeProtocol, [][]byte{[]byte(preface), frame(framePing, 0, 0, make([]byte, 8)...)}},
		"not HTTP/2":           {codeProtocol, [][]byte{[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")}},
		"large frame":          {codeFrameSize, [][]byte{hello(), frame(frameData, 0, 1, big...)}},
		"ping":                 {codeFrameSize, [][]byte{hello(), frame(framePing, 0, 0, 1)}},
		"settings":             {codeFrameSize, [][]byte{hello(), frame(frameSettings, 0, 0, 1)}},
		"initial window":       {codeFlowControl, [][]byte{hello(), appendSettings(nil, [2]uint32{settingInitialWindow, 1 << 31})}},
		"frame size":           {codeProtocol, [][]byte{hello(), appendSettings(nil, [2]uint32{settingMaxFrame, 1})}},
		"push":                 {codeProtocol, [][]byte{hello(), frame(framePush, 0, 1)}},
		"priority":             {codeFrameSize, [][]byte{hello(), frame(framePriority, 0, 1)}},
		"data of no stream":    {codeProtocol, [][]byte{hello(), frame(frameData, 0, 1, 1)}},
		"reset of no stream":   {codeProtocol, [][]byte{hello(), frame(frameReset, 0, 1, 0, 0, 0, 1)}},
		"short reset":          {codeFrameSize, [][]byte{hello(), frame(frameReset, 0, 1, 0)}},
		"window of no stream":  {codeProtocol, [][]byte{hello(), appendWindow(nil, 1, 1)}},
		"window by nothing":    {codeProtocol, [][]byte{hello(), appendWindow(nil, 0, 0)}},
		"window too large":     {codeFlowControl, [][]byte{hello(), appendWindow(nil, 0, maxWindow)}},
		"even stream":          {codeProtocol, [][]byte{hello(), frame(frameHeaders, flagEndHeaders, 2, call("/a/b")...)}},
		"header block":         {codeCompression, [][]byte{hello(), frame(frameHeaders, flagEndHeaders, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)}},
		"continuation":         {codeProtocol, [][]byte{hello(), frame(frameContinuation, 0, 1)}},
		"interrupted":          {codeProtocol, [][]byte{hello(), frame(frameHeaders, 0, 1, call("/a/b")...), frame(framePing, 0, 0, make([]byte, 8)...)}},
		"padding":              {codeProtocol, [][]byte{hello(), frame(frameHeaders, flagEndHeaders|flagPadded, 1, 9, 1)}},
		"padding cut off":      {codeFrameSize, [][]byte{hello(), frame(frameHeaders, flagEndHeaders|flagPadded, 1)}},
		"endless headers":      {codeCalm, append([][]byte{hello(), frame(frameHeaders, 0, 1, call("/a/b")...)}, slices.Repeat([][]byte{frame(frameContinuation, 0, 1, big[1:]...)}, 5)...)},
		"data of stream 0":     {codeProtocol, [][]byte{hello(), frame(frameData, 0, 0, 1)}},
		"block cut off":        {codeCompression, [][]byte{hello(), frame(frameHeaders, flagEndHeaders, 1, 0x40, 5, 'a')}},
		"no priority":          {codeFrameSize, [][]byte{hello(), frame(frameHeaders, flagEndHeaders|flagPriority, 1, 1, 2)}},
		"headers amid a call":  {codeProtocol, [][]byte{hello(), known, frame(frameHeaders, flagEndHeaders, 1, call("/q/q")...)}},
		"data after the end":   {codeClosed, [][]byte{hello(), frame(frameHeaders, flagEndHeaders, 1, call("/q/wait")...), frame(frameData, flagEndStream, 1, 0, 0, 0, 0, 0), frame(frameData, 0, 1, 1)}},
		"settings of stream":   {codeProtocol, [][]byte{hello(), frame(frameSettings, 0, 1)}},
		"settings in an ack":   {codeFrameSize, [][]byte{hello(), frame(frameSettings, flagAck, 0, 0, 4, 0, 0, 0, 9)}},
		"ping of stream":       {codeProtocol, [][]byte{hello(), frame(framePing, 0, 1, make([]byte, 8)...)}},
		"short window":         {codeFrameSize, [][]byte{hello(), frame(frameWindow, 0, 0, 1)}},
		"stream's window by 0": {codeProtocol, [][]byte{hello(), known, appendWindow(nil, 1, 0)}},
		"too many pings":       {codeCalm, append([][]byte{hello()}, slices.Repeat([][]byte{frame(framePing, 0, 0, make([]byte, 8)...)}, maxStrikes+2)...)},
		"stream's window":      {codeFlowControl, append([][]byte{hello(), known}, slices.Repeat([][]byte{frame(frameData, 0, 1, big[1:]...)}, streamWindow/maxFrame+1)...)},
	} {
		t.Run(name, func(t *testing.T) {
			r := dialRaw(t, Config{})
			go func() { _, _ = r.Write(slices.Concat(c.send...)) }() // the server may close before it has all
			kind, _, _, payload := r.next(frameSettings, frameWindow, frameHeaders, frameReset, framePing)
			require.EqualValues(t, frameGoAway, kind)
			require.Equal(t, c.code, binary.BigEndian.Uint32(payload[4:]), string(payload[8:]))
			require.NotEmpty(t, payload[8:], "it says why")
			_, err := io.Copy(io.Discard, r)
			require.NoError(t, err, "and ends the connection in order")
		})
	}
}

// TestHeaders lists what a call is refused for.
func TestHeaders(t *testing.T) {
	good := []string{":method", "POST", ":scheme", "http", ":path", "/a/b", "content-type", "application/grpc"}
	for name, c := range map[string]struct {
		fields       []string
		status, http string
	}{
		"unknown method": {good, "12", "200"},
		"get":            {append([]string{":method", "GET"}, good[2:]...), "13", "405"},
		"no path":        {append(slices.Clone(good[:4]), good[6:]...), "13", "200"},
		"other content":  {append(slices.Clone(good[:6]), "content-type", "text/html"), "13", "415"},
		"two paths":      {append(slices.Clone(good), ":path", "/b"), "13", "200"},
		"pseudo":         {append(slices.Clone(good), ":other", "x"), "13", "200"},
		"timeout":        {append(slices.Clone(good), "grpc-timeout", "1x"), "13", "200"},
		"compressed":     {append(slices.Clone(good), "grpc-encoding", "gzip"), "12", "200"},
		"HTTP/1's":       {append(slices.Clone(good), "connection", "close"), "13", "200"},
		"capitals":       {append(slices.Clone(good), "Name", "x"), "13", "200"},
	} {
		t.Run(name, func(t *testing.T) {
			r := dialRaw(t, Config{})
			r.send(hello(), frame(frameHeaders, flagEndHeaders|flagEndStream, 1, block(c.fields...)...))
			kind, flags, id, payload := r.next(frameSettings, frameWindow)
			require.EqualValues(t, frameHeaders, kind)
			require.EqualValues(t, flagEndHeaders|flagEndStream, flags)
			require.EqualValues(t, 1, id)
			fields, err := hpack.NewDecoder(4096, nil).DecodeFull(payload)
			require.NoError(t, err)
			require.Contains(t, fields, hpack.HeaderField{Name: "grpc-status", Value: c.status})
			require.Equal(t, hpack.HeaderField{Name: ":status", Value: c.http}, fields[0])
		})
	}
}

// TestSmallTable has a client that wants no table.
func TestSmallTable(t *testing.T) {
	r := dialRaw(t, Config{})
	r.send([]byte(preface), appendSettings(nil, [2]uint32{settingTableSize, 0}), frame(frameHeaders, flagEndHeaders|flagEndStream, 1, call("/a/b")...))
	_, _, _, payload := r.next(frameSettings, frameWindow)
	require.EqualValues(t, 0x20, payload[0], "the size of the table is told first")
	d := hpack.NewDecoder(4096, nil)
	_, err := d.DecodeFull(payload)
	require.NoError(t, err)
}

func TestTimeouts(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1H": time.Hour, "2M": 2 * time.Minute, "3S": 3 * time.Second, "4m": 4e6, "5u": 5e3, "6n": 6, "0n": 1, "99999999H": 1<<63 - 1,
	} {
		got, ok := parseTimeout(text)
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "1", "S", "1X", "-1S", "123456789S", "+1S"} {
		_, ok := parseTimeout(text)
		require.False(t, ok, text)
	}
}

// TestKnownHeaders has blocks that only refer to the table mean something else once the table has changed.
func TestKnownHeaders(t *testing.T) {
	server, err := New(Config{})
	require.NoError(t, err)
	server.methods["/a/b"], server.methods["/c/d"] = &method{path: "/a/b"}, &method{path: "/c/d"}
	h := newHeaderReader(server)
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	read := func(path string) (*request, bool) {
		b.Reset()
		for _, f := range []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":path", Value: path}, {Name: "content-type", Value: "application/grpc"}} {
			require.NoError(t, e.WriteField(f))
		}
		refers := refersOnly(b.Bytes())
		r, err := h.read(b.Bytes())
		require.NoError(t, err)
		require.Nil(t, r.refused)
		require.Equal(t, path, r.method.path)
		return r, refers
	}
	read("/a/b")
	first, refers := read("/a/b")
	require.True(t, refers)
	second, _ := read("/a/b")
	require.Same(t, first, second)
	read("/c/d")
	_, refers = read("/c/d")
	require.True(t, refers)
	third, _ := read("/a/b")
	require.NotSame(t, first, third)
}

// quickMethod sends the request back, every other time on a goroutine of its own.
func quickMethod() *method {
	return &method{path: "/a/b", unary: &grpc.MethodDesc{}, quick: func(c *Call, request, answer []byte) ([]byte, bool, error) {
		return append(answer, request...), c.Wait() || len(request)%2 == 0, nil
	}}
}

// waiting counts the calls that wait for their end.
type waiting struct{ now, most atomic.Int64 }

func (w *waiting) method() *method {
	return &method{path: "/q/wait", unary: &grpc.MethodDesc{}, quick: func(c *Call, _, answer []byte) ([]byte, bool, error) {
		if !c.Wait() {
			return answer, false, nil
		}
		now := w.now.Add(1)
		defer w.now.Add(-1)
		for most := w.most.Load(); now > most && !w.most.CompareAndSwap(most, now); most = w.most.Load() {
		}
		<-c.Context().Done()
		return answer, true, c.Context().Err()
	}}
}

func FuzzConn(f *testing.F) {
	headers := frame(frameHeaders, flagEndHeaders, 1, call("/a/b")...)
	f.Add(slices.Concat(headers, frame(frameData, flagEndStream, 1, 0, 0, 0, 0, 1, 7)))
	f.Add(slices.Concat(headers, frame(frameReset, 0, 1, 0, 0, 0, 8), appendWindow(nil, 0, 5), frame(framePing, 0, 0, make([]byte, 8)...)))
	f.Add(slices.Concat(frame(frameHeaders, 0, 1, call("/a/b")[:10]...), frame(frameContinuation, flagEndHeaders, 1, call("/a/b")[10:]...)))
	f.Add(slices.Concat(appendSettings(nil, [2]uint32{settingInitialWindow, 3}), headers, frame(frameData, flagEndStream|flagPadded, 1, 2, 0, 0, 0, 0, 1, 7, 0, 0)))
	f.Fuzz(func(t *testing.T, frames []byte) {
		server, err := New(Config{MaxMessageBytes: 1000, MaxStreams: 3})
		require.NoError(t, err)
		server.methods["/a/b"] = quickMethod()
		ours, theirs := net.Pipe()
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, theirs)
		}()
		server.accept(ours)
		_, _ = theirs.Write(append(hello(), frames...))
		_ = theirs.Close()
		<-read
		require.NoError(t, server.Close())
	})
}
