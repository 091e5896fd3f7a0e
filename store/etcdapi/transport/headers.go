package transport

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	maxHeaderBytes = 64 << 10
	// maxKnown bounds the header blocks that a connection remembers.
	maxKnown = 64
)

// request is what the headers of a call say. It is shared by calls with the same headers, and not changed.
type request struct {
	method  *method
	path    string
	timeout time.Duration // 0 for none
	refused *status.Status
	// httpStatus is what it is refused with, if not 200.
	httpStatus string
	fields     []hpack.HeaderField // what is not HTTP's or gRPC's own
}

// metadata returns the fields as handlers see them.
func (r *request) metadata() metadata.MD {
	md := make(metadata.MD, len(r.fields))
	for _, f := range r.fields {
		value := f.Value
		if strings.HasSuffix(f.Name, "-bin") {
			decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
			if err != nil {
				continue
			}
			value = string(decoded)
		}
		md[f.Name] = append(md[f.Name], value)
	}
	return md
}

// headerReader decodes header blocks. Blocks that only refer to the table mean the same until the table changes: those
// are remembered by their bytes.
type headerReader struct {
	server  *Server
	decoder *hpack.Decoder
	known   map[string]*request
	now     *request
	size    int
	bad     bool
	seen    map[string]bool // pseudo headers
}

func newHeaderReader(s *Server) *headerReader {
	h := &headerReader{server: s, known: map[string]*request{}, seen: map[string]bool{}}
	h.decoder = hpack.NewDecoder(4096, h.field)
	h.decoder.SetMaxStringLength(maxHeaderBytes)
	return h
}

// refersOnly reports whether a block consists of indexed fields of one byte.
func refersOnly(block []byte) bool {
	for _, b := range block {
		if b < 0x80 || b == 0xff {
			return false
		}
	}
	return true
}

func (h *headerReader) read(block []byte) (*request, error) {
	same := refersOnly(block)
	if same {
		if r := h.known[string(block)]; r != nil {
			return r, nil
		}
	} else if len(h.known) > 0 {
		clear(h.known)
	}
	h.now, h.size, h.bad = &request{}, 0, false
	clear(h.seen)
	if _, err := h.decoder.Write(block); err != nil {
		return nil, &connectionError{codeCompression, "header block: " + err.Error()}
	}
	if err := h.decoder.Close(); err != nil {
		return nil, &connectionError{codeCompression, "header block: " + err.Error()}
	}
	r := h.now
	r.method = h.server.methods[r.path]
	switch {
	case h.size > maxHeaderBytes: // what came is small, and refers to large fields
		r.refused = status.Newf(codes.ResourceExhausted, "the headers have %d bytes, %d are allowed", h.size, maxHeaderBytes)
	case r.refused != nil:
	case h.bad || !h.seen[":method"] || !h.seen[":path"] || !h.seen["content-type"]:
		r.refused = status.New(codes.Internal, "malformed headers: a gRPC call is a POST of application/grpc")
	case r.method == nil:
		r.refused = h.server.unknown(r.path)
	}
	if same && len(h.known) < maxKnown {
		h.known[string(block)] = r
	}
	return r, nil
}

func (h *headerReader) field(f hpack.HeaderField) {
	h.size += len(f.Name) + len(f.Value) + 32
	if h.size > maxHeaderBytes {
		return
	}
	r := h.now
	switch f.Name {
	case ":path", ":method", ":scheme", ":authority", "content-type":
		h.bad = h.bad || h.seen[f.Name]
		h.seen[f.Name] = true
	}
	switch f.Name {
	case ":path":
		r.path = f.Value
	case ":method":
		if f.Value != "POST" {
			r.refused, r.httpStatus = status.Newf(codes.Internal, "the method is %s, a gRPC call's is POST", f.Value), "405"
		}
	case ":scheme", "te":
	case ":authority":
		r.fields = append(r.fields, f)
	case "content-type":
		rest, found := strings.CutPrefix(f.Value, "application/grpc")
		if !found || rest != "" && rest != "+proto" && !strings.HasPrefix(rest, ";") {
			r.refused, r.httpStatus = status.Newf(codes.Internal, "the content-type is %q, a gRPC call's is application/grpc", f.Value), "415"
		}
		r.fields = append(r.fields, f)
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade": // RFC 9113, 8.2.2
		h.bad = true
	case "grpc-encoding":
		if f.Value != "identity" {
			r.refused = status.Newf(codes.Unimplemented, "messages compressed with %q are not supported", f.Value)
		}
	case "grpc-accept-encoding":
	case "grpc-timeout":
		timeout, ok := parseTimeout(f.Value)
		if !ok {
			r.refused = status.Newf(codes.Internal, "malformed grpc-timeout %q", f.Value)
		}
		r.timeout = timeout
	default:
		if strings.HasPrefix(f.Name, ":") || strings.ToLower(f.Name) != f.Name {
			h.bad = true
			return
		}
		r.fields = append(r.fields, f)
	}
}

// parseTimeout reads up to eight digits and a unit. No time at all becomes the shortest there is.
func parseTimeout(text string) (time.Duration, bool) {
	if len(text) < 2 || len(text) > 9 {
		return 0, false
	}
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 32)
	if err != nil {
		return 0, false
	}
	var unit time.Duration
	switch text[len(text)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0, false
	}
	if n > uint64(1<<63-1)/uint64(unit) {
		return 1<<63 - 1, true
	}
	return max(1, time.Duration(n)*unit), true
}

// statusOK is HTTP's, from the static table.
const statusOK = 0x88

// tableState says what a connection has put into its client's table: with its first answers content-type, and then
// grpc-status 0, by which all others name them.
type tableState uint8

const (
	tableEmpty tableState = iota
	tableContentType
	tableBoth
	tableNone // the client wants a table smaller than usual, which is not worth the trouble
)

const newestEntry = 0x80 | 62

// beginBlock begins a frame of headers, whose length setLength sets. The mutex is held.
func (c *conn) beginBlock(flags byte, id uint32) (at int) {
	at = len(c.out)
	c.out = appendFrameHeader(c.out, 0, frameHeaders, flags|flagEndHeaders, id)
	if c.emptyTable {
		c.emptyTable = false
		c.out = append(c.out, 0x20) // the size of the table is 0 from now on
	}
	return at
}

// endBlock sets the length of a frame that beginBlock began and c.out ends with, and makes more frames of it if there is
// too much for one. The mutex is held.
func (c *conn) endBlock(at int) {
	c.spoke = true
	block := c.out[at+frameHeaderLen:]
	if len(block) <= maxFrame {
		setLength(c.out[at:])
		return
	}
	rest, id := bytes.Clone(block[maxFrame:]), binary.BigEndian.Uint32(c.out[at+5:])
	c.out = c.out[:at+frameHeaderLen+maxFrame]
	setLength(c.out[at:])
	c.out[at+4] &^= flagEndHeaders
	for len(rest) > maxFrame {
		c.out = append(appendFrameHeader(c.out, maxFrame, frameContinuation, 0, id), rest[:maxFrame]...)
		rest = rest[maxFrame:]
	}
	c.out = append(appendFrameHeader(c.out, len(rest), frameContinuation, flagEndHeaders, id), rest...)
}

// appendHTTPStatus adds HTTP's status, which is 200 if it is empty.
func (c *conn) appendHTTPStatus(status string) {
	if status == "" {
		c.out = append(c.out, statusOK)
	} else {
		c.out = appendLiteral(c.out, false, ":status", status)
	}
}

func (c *conn) appendContentType() {
	switch c.table {
	case tableEmpty:
		c.out = appendLiteral(c.out, true, "content-type", "application/grpc")
		c.table = tableContentType
	case tableContentType:
		c.out = append(c.out, newestEntry)
	case tableBoth:
		c.out = append(c.out, newestEntry+1)
	case tableNone:
		c.out = appendLiteral(c.out, false, "content-type", "application/grpc")
	}
}

func (c *conn) appendOK() {
	switch c.table {
	case tableContentType:
		c.out = appendLiteral(c.out, true, "grpc-status", "0")
		c.table = tableBoth
	case tableBoth:
		c.out = append(c.out, newestEntry)
	default:
		c.out = appendLiteral(c.out, false, "grpc-status", "0")
	}
}

func appendLiteral(b []byte, indexed bool, name, value string) []byte {
	first := byte(0x00) // not added to the table
	if indexed {
		first = 0x40
	}
	b = appendString(append(b, first), name)
	return appendString(b, value)
}

func appendString(b []byte, s string) []byte {
	if n := len(s); n < 127 {
		b = append(b, byte(n))
	} else {
		b = append(b, 127)
		for n -= 127; n >= 128; n >>= 7 {
			b = append(b, byte(n)|0x80)
		}
		b = append(b, byte(n))
	}
	return append(b, s...)
}

// appendMetadata adds what a handler has set.
func appendMetadata(b []byte, md metadata.MD) []byte {
	for name, values := range md {
		if strings.HasPrefix(name, ":") || strings.HasPrefix(name, "grpc-") || name == "content-type" {
			continue
		}
		for _, value := range values {
			if strings.HasSuffix(name, "-bin") {
				value = base64.RawStdEncoding.EncodeToString([]byte(value))
			}
			b = appendLiteral(b, false, name, value)
		}
	}
	return b
}

// appendStatus adds a status that is not OK.
func appendStatus(b []byte, st *status.Status) []byte {
	b = appendLiteral(b, false, "grpc-status", strconv.Itoa(int(st.Code())))
	if message := st.Message(); message != "" {
		b = appendLiteral(b, false, "grpc-message", escape(message))
	}
	if p := st.Proto(); len(p.GetDetails()) > 0 {
		if details, err := proto.Marshal(p); err == nil {
			b = appendLiteral(b, false, "grpc-status-details-bin", base64.RawStdEncoding.EncodeToString(details))
		}
	}
	return b
}

// escape percent-encodes a message as gRPC's protocol says.
func escape(message string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(message) {
		if c := message[i]; c >= ' ' && c <= '~' && c != '%' {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
