package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/keelson-dev/keelson/store/internal/fault"
	"github.com/stretchr/testify/require"
)

func checksum(p []byte) []byte {
	return binary.LittleEndian.AppendUint32(nil, crc32.Checksum(p, castagnoli))
}

// damagedBytes is the size of the segment that is damaged.
const damagedBytes = 8 << 10

// written makes a log of ten entries, and returns its file as it is before it is closed, and where each frame ends.
func written(t *testing.T) (whole []byte, ends []int64) {
	t.Helper()
	disk := newMemory()
	l, err := openInline(disk, damagedBytes)
	require.NoError(t, err)
	ends = append(ends, l.segments[0].end)
	for i := uint64(1); i <= 10; i++ {
		require.NoError(t, l.StoreLog(entry(i, 20*int(i))))
		ends = append(ends, l.segments[0].end)
	}
	return disk.names[segmentName(1)].now, ends
}

// reopen opens a log on a file, and returns how many entries it has; they are as they were written.
func reopen(t *testing.T, content []byte) (last uint64, err error) {
	t.Helper()
	disk := newMemory()
	disk.put(segmentName(1), content)
	s, err := openLog(disk, "disk", damagedBytes)
	if err != nil {
		return 0, err
	}
	last, err = s.LastIndex()
	require.NoError(t, err)
	for i := uint64(1); i <= last; i++ {
		var e raft.Log
		require.NoError(t, s.GetLog(i, &e))
		require.Equal(t, entry(i, 20*int(i)).Data, e.Data)
	}
	// It goes on from there.
	require.NoError(t, s.StoreLog(entry(last+1, 20*int(last+1))))
	require.NoError(t, s.Close())
	s, err = openLog(disk, "disk", damagedBytes)
	require.NoError(t, err)
	for i := uint64(1); i <= last+1; i++ {
		var e raft.Log
		require.NoError(t, s.GetLog(i, &e))
		require.Equal(t, entry(i, 20*int(i)).Data, e.Data)
	}
	require.NoError(t, s.Close())
	return last, nil
}

// unsized makes a segment one that does not say how large its file is.
func unsized(p []byte) []byte {
	clear(p[headerUsed:headerEnd])
	return p
}

// TestTornTail ends the file's content at every byte, with the three kinds of what may be behind it.
func TestTornTail(t *testing.T) {
	whole, ends := written(t)
	old := make([]byte, len(whole)) // of an earlier use of the file
	l, err := openLog(newMemory(), "disk", damagedBytes)
	require.NoError(t, err)
	for i := uint64(1); i <= 30; i++ {
		require.NoError(t, l.StoreLog(&raft.Log{Index: i, Data: bytes.Repeat([]byte{0xee}, 100)}))
	}
	previous, err := readAll(l.segments[0].file)
	require.NoError(t, err)
	copy(old, previous)
	require.NoError(t, l.Close())
	noise := make([]byte, len(whole))
	rnd := rand.New(rand.NewPCG(5, 6))
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	frames := 0
	for at := ends[0]; at < ends[len(ends)-1]; at++ {
		for frames+1 < len(ends) && ends[frames+1] <= at {
			frames++
		}
		behind := [][]byte{make([]byte, len(whole)), old, noise, nil}[at%4]
		content := append([]byte(nil), whole[:at]...)
		if behind != nil {
			content = append(content, behind[at:]...)
		}
		last, err := reopen(t, content)
		if behind == nil {
			require.ErrorIs(t, err, fault.ErrCorrupt, "at %d", at)
			require.ErrorContains(t, err, "was made with 8192 bytes")
			last, err = reopen(t, unsized(content))
		}
		require.NoError(t, err, "at %d", at)
		if int(last) == frames+1 {
			// Only padding is missing.
			require.Less(t, ends[frames+1]-at, int64(8))
			continue
		}
		require.EqualValues(t, frames, last, "at %d", at)
	}
	require.Equal(t, len(ends)-2, frames)
}

// TestBitFlips changes single bits: those of the last frame make it one that was not finished, all others are damage.
func TestBitFlips(t *testing.T) {
	whole, ends := written(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	lastFrame := ends[len(ends)-2]
	damaged, cut := 0, 0
	for range 300 {
		content := append([]byte(nil), whole...)
		at := rnd.Int64N(ends[len(ends)-1])
		content[at] ^= 1 << rnd.IntN(8)
		last, err := reopen(t, content)
		switch {
		case errors.Is(err, fault.ErrCorrupt):
			damaged++
			require.Less(t, at, lastFrame)
		case errors.Is(err, fault.ErrVersion):
			t.Fatalf("at %d: %v", at, err)
		case at >= lastFrame && last == 9:
			require.NoError(t, err)
			cut++
		default:
			// What no checksum covers: padding, and the unused rest of the header.
			require.NoError(t, err, "at %d", at)
			require.EqualValues(t, 10, last, "at %d", at)
		}
	}
	require.Greater(t, damaged, 50)
	require.Greater(t, cut, 10)
}

// TestDamageIsNotATail damages each frame in turn, whole.
func TestDamageIsNotATail(t *testing.T) {
	whole, ends := written(t)
	for i := 0; i+1 < len(ends); i++ {
		content := append([]byte(nil), whole...)
		clear(content[ends[i]:ends[i+1]])
		last, err := reopen(t, content)
		if i == len(ends)-2 {
			require.NoError(t, err)
			require.EqualValues(t, 9, last)
			continue
		}
		require.ErrorIs(t, err, fault.ErrCorrupt)
		require.ErrorContains(t, err, segmentName(1))
		require.ErrorContains(t, err, "frame")
	}
}

// TestDamageOfAClosedLog shows that after Close damage to the last entry is told from a half written one.
func TestDamageOfAClosedLog(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 64<<10)
	for i := uint64(1); i <= 3; i++ {
		require.NoError(t, l.StoreLog(entry(i, 100)))
	}
	at := l.segments[0].end - 50
	require.NoError(t, l.Close())
	path := filepath.Join(dir, "wal", segmentName(1))
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	whole[at] ^= 1
	require.NoError(t, os.WriteFile(path, whole, 0o600))
	_, err = Open(dir, 0)
	require.ErrorIs(t, err, fault.ErrCorrupt)
}

// TestReadNoticesDamage damages an entry under an open log.
func TestReadNoticesDamage(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 64<<10)
	require.NoError(t, l.StoreLog(entry(1, 100)))
	at := l.segments[0].end - 50
	_, err := l.segments[0].file.WriteAt([]byte("?"), at)
	require.NoError(t, err)
	err = l.GetLog(1, &raft.Log{})
	require.ErrorIs(t, err, fault.ErrCorrupt)
	require.ErrorContains(t, err, segmentName(1))
	require.NoError(t, l.Close())
}

// FuzzSegment opens whatever is in a file. What is accepted can be read, written to and opened again.
func FuzzSegment(f *testing.F) {
	l := &Log{id: 5, segmentBytes: 4 << 10, state: newState()}
	mem := newMemory()
	l.files = mem
	first, err := l.makeSegment(1, 1, 0)
	require.NoError(f, err)
	l.segments, l.number, l.writing = []*segment{first}, 2, make(chan struct{}, 1)
	require.NoError(f, l.StoreLogs([]*raft.Log{entry(1, 30), entry(2, 40)}))
	require.NoError(f, l.Set([]byte("key"), []byte("value")))
	require.NoError(f, l.DeleteRange(1, 1))
	whole, err := readAll(first.file)
	require.NoError(f, err)
	f.Add(whole)
	f.Add(whole[:700])
	f.Fuzz(func(t *testing.T, p []byte) {
		// Checksums are set right, or hardly anything would get behind them.
		salt := uint64(0)
		if len(p) >= headerSize {
			copy(p, magic)
			p[len(magic)] = version
			binary.LittleEndian.PutUint64(p[24:], 1)
			copy(p[headerUsed-4:], checksum(p[:headerUsed-4]))
			clear(p[headerUsed:headerEnd])
			salt = binary.LittleEndian.Uint64(p[16:])
		}
		number := uint64(0)
		if len(p) >= headerSize {
			number = binary.LittleEndian.Uint64(p[32:])
		}
		for at := headerSize; at+frameHead <= len(p); number++ {
			size := int(min(uint64(binary.LittleEndian.Uint32(p[at+4:])), uint64(len(p)-at-frameHead)))
			binary.LittleEndian.PutUint32(p[at+4:], uint32(size))
			binary.LittleEndian.PutUint64(p[at+8:], number)
			binary.LittleEndian.PutUint64(p[at+16:], salt)
			copy(p[at:], checksum(p[at+4:at+frameHead+size]))
			at += padded(size)
		}
		mem := newMemory()
		mem.put(segmentName(1), p)
		l, err := openLog(mem, "fuzz", 4<<10)
		if err != nil {
			return
		}
		last, err := l.LastIndex()
		require.NoError(t, err)
		first, err := l.FirstIndex()
		require.NoError(t, err)
		for i := first; i <= last && i > 0; i++ {
			var e raft.Log
			if err := l.GetLog(i, &e); err != nil {
				require.ErrorIs(t, err, fault.ErrCorrupt) // the entry's own checksum was not set right
			}
		}
		if last+1 == 0 {
			return
		}
		require.NoError(t, l.StoreLog(entry(last+1, 10)))
		require.NoError(t, l.Close())
		l, err = openLog(mem, "fuzz", 4<<10)
		require.NoError(t, err)
		require.NoError(t, l.Close())
	})
}
