package wal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	magic      = "keelwal"
	version    = 1
	headerSize = 512 // a sector of its own, which frames are not written into
	headerUsed = 44
	headerEnd  = headerUsed + 12 // with the size of the file
	frameHead  = 32
	// maxFrame bounds the content of one frame.
	maxFrame = 1 << 30
)

// header is that of a segment.
type header struct {
	log, salt, segment, frame uint64
	bytes                     uint64 // of the file; 0 in a segment from before this was noted
}

func (h header) encode() []byte {
	p := make([]byte, 0, headerSize)
	p = append(append(p, magic...), version)
	for _, n := range []uint64{h.log, h.salt, h.segment, h.frame} {
		p = binary.LittleEndian.AppendUint64(p, n)
	}
	p = binary.LittleEndian.AppendUint32(p, crc32.Checksum(p, castagnoli))
	p = binary.LittleEndian.AppendUint64(p, h.bytes)
	return binary.LittleEndian.AppendUint32(p, crc32.Checksum(p, castagnoli))[:headerSize]
}

// decodeHeader returns the header of a segment, and its version, which is 0 if there is no header.
func decodeHeader(p []byte) (h header, format byte) {
	if len(p) < headerSize || string(p[:len(magic)]) != magic {
		return h, 0
	}
	end := headerUsed - 4
	if crc32.Checksum(p[:end], castagnoli) != binary.LittleEndian.Uint32(p[end:]) {
		return h, 0
	}
	order := binary.LittleEndian
	h = header{order.Uint64(p[8:]), order.Uint64(p[16:]), order.Uint64(p[24:]), order.Uint64(p[32:]), order.Uint64(p[headerUsed:])}
	if said := order.Uint32(p[headerEnd-4:]); h.bytes != 0 || said != 0 {
		if crc32.Checksum(p[:headerEnd-4], castagnoli) != said {
			return header{}, 0
		}
	}
	return h, p[len(magic)]
}

type kind byte

const (
	kindState kind = 1 + iota
	kindEntries
	kindDrop
	kindCut
	kindSet
	kindClosed
	kindSealed
	kindAgain
)

type frame struct {
	kind    kind
	number  uint64
	content []byte
}

// padded is the room that a frame with so much content takes.
func padded(content int) int { return (frameHead + content + 7) &^ 7 }

// finishFrame fills in the head of the frame that p is, content and all, and pads it.
func finishFrame(p []byte, k kind, number, salt uint64) []byte {
	order := binary.LittleEndian
	content := len(p) - frameHead
	order.PutUint32(p[4:], uint32(content))
	order.PutUint64(p[8:], number)
	order.PutUint64(p[16:], salt)
	order.PutUint64(p[24:], uint64(k))
	order.PutUint32(p, crc32.Checksum(p[4:], castagnoli))
	var zeros [8]byte
	return append(p, zeros[:padded(content)-len(p)]...)
}

// decodeFrame reads the frame that p begins with, and says how long it is with its padding. The length of p is a
// multiple of 8. A frame that is not summed is taken whatever its checksum is.
func decodeFrame(p []byte, salt uint64, summed bool) (f frame, size int, ok bool) {
	order := binary.LittleEndian
	if len(p) < frameHead || order.Uint64(p[16:]) != salt {
		return f, 0, false
	}
	content := uint64(order.Uint32(p[4:]))
	if content > maxFrame || content > uint64(len(p)-frameHead) {
		return f, 0, false
	}
	end := frameHead + int(content)
	if summed && crc32.Checksum(p[4:end], castagnoli) != order.Uint32(p) {
		return f, 0, false
	}
	return frame{kind(p[24]), order.Uint64(p[8:]), p[frameHead:end]}, padded(int(content)), true
}

// laterFrame says whether p, where no frame begins, has one somewhere that is numbered so or higher: then what is
// wrong here is damage. Otherwise it is where writing ended.
func laterFrame(p []byte, salt, number uint64) bool {
	sought := binary.LittleEndian.AppendUint64(nil, salt)
	for at := 0; ; {
		found := bytes.Index(p[at:], sought)
		if found < 0 {
			return false
		}
		at += found
		if start := at - 16; start >= 0 && start%8 == 0 {
			if f, _, ok := decodeFrame(p[start:], salt, true); ok && f.number >= number {
				return true
			}
		}
		at++
	}
}
