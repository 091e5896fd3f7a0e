package process

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// protocolVersion is the version of what agent and supervisor say to each other. A supervisor outlives the agent that
// started it, so an agent may meet one of an older release: a change that such a supervisor would not understand raises
// the number, and the agent keeps speaking the old one to the old ones.
const protocolVersion = 1

// A connection carries frames: four bytes of length (big endian, of kind and payload), one byte of kind, the payload.
const (
	frameRequest  byte = 'q' // agent: request as JSON
	frameReply    byte = 'r' // supervisor: reply as JSON
	frameState    byte = 's' // supervisor: podState as JSON, unasked, after each change
	frameStdin    byte = '0' // agent: bytes for standard input; none means end of file
	frameStdout   byte = '1' // supervisor: bytes of standard output
	frameStderr   byte = '2' // supervisor: bytes of standard error
	frameResize   byte = 'z' // agent: terminal size as JSON
	frameExit     byte = 'x' // supervisor: reply as JSON, the last frame of a stream
	maxFrame           = 16 << 20
	maxStreamData      = 32 << 10
)

// The operations of a request.
const (
	opHello     = "hello"  // the first one of a control connection; states follow from then on
	opCreate    = "create" // Container, Config
	opStart     = "start"
	opStop      = "stop" // Timeout
	opRemove    = "remove"
	opReopen    = "reopen"
	opUpdate    = "update" // Config
	opStats     = "stats"
	opStopPod   = "stop-pod"
	opEnd       = "end"    // stop everything, reply, end the supervisor
	opExec      = "exec"   // the first one of a stream connection: Command, TTY, Stdin, Exec
	opAttach    = "attach" // the first one of a stream connection
	opKillExec  = "kill-exec"
	controlPool = 64 // requests served at a time on one control connection
)

type request struct {
	Seq       uint64   `json:"seq"`
	Op        string   `json:"op"`
	Protocol  int      `json:"protocol,omitempty"`
	Container string   `json:"container,omitempty"`
	Config    []byte   `json:"config,omitempty"`
	Process   *command `json:"process,omitempty"`
	Timeout   int64    `json:"timeout,omitempty"` // seconds
	Exec      string   `json:"exec,omitempty"`
	Command   []string `json:"command,omitempty"`
	TTY       bool     `json:"tty,omitempty"`
	Stdin     bool     `json:"stdin,omitempty"`
}

type reply struct {
	Seq      uint64           `json:"seq"`
	Protocol int              `json:"protocol,omitempty"`
	Code     codes.Code       `json:"code,omitempty"`
	Message  string           `json:"message,omitempty"`
	State    *podState        `json:"state,omitempty"`
	Usage    map[string]usage `json:"usage,omitempty"`
	Exit     int              `json:"exit,omitempty"`
}

func (r *reply) err() error {
	if r.Code == codes.OK {
		return nil
	}
	return status.Error(r.Code, r.Message)
}

// usage is what a container's processes use and used.
type usage struct {
	CPU       uint64 `json:"cpu"` // nanoseconds
	RSS       uint64 `json:"rss"` // bytes
	Processes uint64 `json:"processes"`
	Faults    uint64 `json:"faults"`
	Known     bool   `json:"known"` // false where the system does not tell
}

// frameConn writes and reads whole frames. Writes may come from several goroutines, reads from one.
type frameConn struct {
	conn net.Conn
	wmu  chan struct{} // one token: held while a frame is written
	once sync.Once
}

func newFrameConn(conn net.Conn) *frameConn {
	c := &frameConn{conn: conn, wmu: make(chan struct{}, 1)}
	c.wmu <- struct{}{}
	return c
}

func (c *frameConn) write(kind byte, payload []byte) error {
	if len(payload) >= maxFrame {
		return status.Errorf(codes.ResourceExhausted, "message of %d bytes, the most is %d", len(payload), maxFrame-1)
	}
	frame := make([]byte, 0, 5+len(payload))
	frame = binary.BigEndian.AppendUint32(frame, uint32(1+len(payload)))
	frame = append(frame, kind)
	frame = append(frame, payload...)
	<-c.wmu
	defer func() { c.wmu <- struct{}{} }()
	_, err := c.conn.Write(frame)
	return err
}

func (c *frameConn) writeJSON(kind byte, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	return c.write(kind, payload)
}

func (c *frameConn) read() (byte, []byte, error) { return readFrame(c.conn) }

func (c *frameConn) close() { c.once.Do(func() { c.conn.Close() }) }

// readFrame reads one frame. It allocates no more than what arrives, whatever length is claimed.
func readFrame(r io.Reader) (byte, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[:4])
	if size == 0 || size > maxFrame {
		return 0, nil, fmt.Errorf("frame of %d bytes, want 1 to %d", size, maxFrame)
	}
	size--
	if size <= 64<<10 {
		payload := make([]byte, size)
		_, err := io.ReadFull(r, payload)
		if err == io.EOF && size > 0 {
			err = io.ErrUnexpectedEOF
		}
		return head[4], payload, err
	}
	payload, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err == nil && len(payload) < int(size) {
		err = io.ErrUnexpectedEOF
	}
	return head[4], payload, err
}
