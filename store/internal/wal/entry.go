package wal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"
)

const entryHead = 44

func appendEntry(p []byte, e *raft.Log) []byte {
	order := binary.LittleEndian
	start := len(p)
	p = order.AppendUint32(p, 0)
	p = order.AppendUint32(p, uint32(len(e.Data)))
	p = order.AppendUint32(p, uint32(len(e.Extensions)))
	p = append(p, byte(e.Type), 0, 0, 0)
	p = order.AppendUint64(p, e.Index)
	p = order.AppendUint64(p, e.Term)
	p = order.AppendUint64(p, uint64(e.AppendedAt.Unix()))
	p = order.AppendUint32(p, uint32(e.AppendedAt.Nanosecond()))
	p = append(p, e.Data...)
	p = append(p, e.Extensions...)
	order.PutUint32(p[start:], crc32.Checksum(p[start+4:], castagnoli))
	return p
}

// appendEntries appends entries to a frame, and returns where in it each is.
func appendEntries(p []byte, entries []*raft.Log) ([]byte, []location) {
	places := make([]location, len(entries))
	for i, e := range entries {
		offset := len(p)
		p = appendEntry(p, e)
		places[i] = location{offset: int64(offset), size: uint32(len(p) - offset)}
	}
	return p, places
}

// entrySize returns how long the entry is that p begins with.
func entrySize(p []byte) (int, error) {
	if len(p) < entryHead {
		return 0, errors.New("an entry ends too early")
	}
	size := entryHead + uint64(binary.LittleEndian.Uint32(p[4:])) + uint64(binary.LittleEndian.Uint32(p[8:]))
	if size > uint64(len(p)) {
		return 0, errors.New("an entry ends too early")
	}
	return int(size), nil
}

// decodeEntry reads the entry that p is. The entry's slices are p's.
func decodeEntry(p []byte, e *raft.Log) error {
	size, err := entrySize(p)
	if err != nil {
		return err
	}
	order := binary.LittleEndian
	if size != len(p) || crc32.Checksum(p[4:], castagnoli) != order.Uint32(p) {
		return errors.New("an entry does not fit its checksum")
	}
	data := entryHead + int(order.Uint32(p[4:]))
	*e = raft.Log{
		Index: order.Uint64(p[16:]), Term: order.Uint64(p[24:]), Type: raft.LogType(p[12]),
		AppendedAt: time.Unix(int64(order.Uint64(p[32:])), int64(order.Uint32(p[40:]))).UTC(),
	}
	if data > entryHead {
		e.Data = p[entryHead:data:data]
	}
	if data < len(p) {
		e.Extensions = p[data:]
	}
	return nil
}

func appendKey(p []byte, key string, value []byte) []byte {
	p = binary.LittleEndian.AppendUint32(p, uint32(len(key)))
	p = append(p, key...)
	p = binary.LittleEndian.AppendUint32(p, uint32(len(value)))
	return append(p, value...)
}

// cutKey reads the key and value that p begins with and returns what follows.
func cutKey(p []byte) (key string, value, rest []byte, err error) {
	k, p, ok := cutBytes(p)
	if ok {
		value, rest, ok = cutBytes(p)
	}
	if !ok {
		return "", nil, nil, errors.New("a key ends too early")
	}
	return string(k), value, rest, nil
}

func cutBytes(p []byte) (field, rest []byte, ok bool) {
	if len(p) < 4 {
		return nil, nil, false
	}
	n := uint64(binary.LittleEndian.Uint32(p))
	if n > uint64(len(p)-4) {
		return nil, nil, false
	}
	return p[4 : 4+n : 4+n], p[4+n:], true
}
