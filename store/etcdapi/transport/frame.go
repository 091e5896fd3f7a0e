package transport

import (
	"encoding/binary"
	"fmt"
)

// HTTP/2's frames and codes, RFC 9113 sections 6 and 7.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	framePriority     = 0x2
	frameReset        = 0x3
	frameSettings     = 0x4
	framePush         = 0x5
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindow       = 0x8
	frameContinuation = 0x9

	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20

	settingTableSize     = 0x1
	settingMaxStreams    = 0x3
	settingInitialWindow = 0x4
	settingMaxFrame      = 0x5
	settingMaxHeaderList = 0x6

	codeNone        = 0x0
	codeProtocol    = 0x1
	codeFlowControl = 0x3
	codeClosed      = 0x5
	codeFrameSize   = 0x6
	codeRefused     = 0x7
	codeCancel      = 0x8
	codeCompression = 0x9
	codeCalm        = 0xb

	frameHeaderLen = 9
	// maxFrame is the largest payload of a frame in either direction: what holds unless a peer asks for more.
	maxFrame      = 16 << 10
	defaultWindow = 65_535
	maxWindow     = 1<<31 - 1
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// connectionError ends a connection.
type connectionError struct {
	code uint32
	why  string
}

func (e *connectionError) Error() string {
	return fmt.Sprintf("transport: %s (code %d)", e.why, e.code)
}

func appendFrameHeader(b []byte, length int, kind, flags byte, id uint32) []byte {
	b = append(b, byte(length>>16), byte(length>>8), byte(length), kind, flags)
	return binary.BigEndian.AppendUint32(b, id)
}

func appendReset(b []byte, id, code uint32) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHeader(b, 4, frameReset, 0, id), code)
}

func appendWindow(b []byte, id, by uint32) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHeader(b, 4, frameWindow, 0, id), by)
}

func appendGoAway(b []byte, last, code uint32, why string) []byte {
	b = appendFrameHeader(b, 8+len(why), frameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	return append(binary.BigEndian.AppendUint32(b, code), why...)
}

func appendSettings(b []byte, settings ...[2]uint32) []byte {
	b = appendFrameHeader(b, 6*len(settings), frameSettings, 0, 0)
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, uint16(s[0]))
		b = binary.BigEndian.AppendUint32(b, s[1])
	}
	return b
}

// unpad takes padding and, of a HEADERS frame, the priority off a payload.
func unpad(flags byte, payload []byte, headers bool) ([]byte, error) {
	pad := 0
	if flags&flagPadded != 0 {
		if len(payload) == 0 {
			return nil, &connectionError{codeFrameSize, "padded frame without a length"}
		}
		pad, payload = int(payload[0]), payload[1:]
	}
	if headers && flags&flagPriority != 0 {
		if len(payload) < 5 {
			return nil, &connectionError{codeFrameSize, "priority cut off"}
		}
		payload = payload[5:]
	}
	if pad > len(payload) {
		return nil, &connectionError{codeProtocol, "more padding than payload"}
	}
	return payload[:len(payload)-pad], nil
}
