package wal

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// until stores entries until the newest segment has a number, and returns the last one stored.
func until(t *testing.T, l *Log, number, last uint64) uint64 {
	t.Helper()
	for l.segments[len(l.segments)-1].number < number {
		last++
		require.NoError(t, l.StoreLog(entry(last, 5000)))
	}
	return last
}

// TestSegmentsGrow begins small, and makes each file larger than the one before, up to what was asked for.
func TestSegmentsGrow(t *testing.T) {
	disk := newMemory()
	l, err := openInline(disk, 2500<<10)
	require.NoError(t, err)
	file, free := l.LogSizes()
	require.EqualValues(t, firstBytes, file)
	require.Less(t, free, file)
	until(t, l, 3, 0)
	var sizes []int64
	for _, s := range l.segments {
		sizes = append(sizes, s.size)
		require.Len(t, disk.names[segmentName(s.number)].now, int(s.size))
	}
	require.Equal(t, []int64{256 << 10, 2048 << 10, 2500 << 10}, sizes)
	require.NoError(t, l.Close())
	require.NotContains(t, disk.names, newName)
}

// TestAhead takes the file that was made meanwhile, as far as that is: whole, or begun; and it counts as a part of the log.
func TestAhead(t *testing.T) {
	for name, begun := range map[string]bool{"whole": false, "begun": true} {
		t.Run(name, func(t *testing.T) {
			disk := newMemory()
			l, err := openLog(disk, "disk", 512<<10)
			require.NoError(t, err)
			made := 0
			l.start = func(f func()) {
				made++
				if !begun {
					f()
					return
				}
				a := l.ahead
				go func() {
					<-a.stop
					f()
				}()
			}
			last := uint64(0)
			for made == 0 {
				last++
				require.NoError(t, l.StoreLog(entry(last, 5000)))
			}
			require.GreaterOrEqual(t, l.segments[0].end, int64(firstBytes/2))
			require.LessOrEqual(t, l.segments[0].end, int64(firstBytes/2+5100))
			file, free := l.LogSizes()
			require.EqualValues(t, firstBytes+512<<10, file)
			require.Greater(t, free, int64(512<<10))
			node := disk.names[newName]
			last = until(t, l, 2, last)
			if !begun {
				require.Same(t, node, disk.names[segmentName(2)])
			}
			require.NotContains(t, disk.names, newName)
			for made == 1 {
				last++
				require.NoError(t, l.StoreLog(entry(last, 5000)))
			}
			require.NoError(t, l.Close())
			require.NotContains(t, disk.names, newName, "what was not used is gone")
			l, err = openLog(disk, "disk", 512<<10)
			require.NoError(t, err)
			got, err := l.LastIndex()
			require.NoError(t, err)
			require.Equal(t, last, got)
			require.NoError(t, l.Close())
		})
	}
}

// TestAheadFails has no room for a file that nobody needs yet: it is not left half made, and the log goes on until it needs
// one, and then says so.
func TestAheadFails(t *testing.T) {
	for _, call := range []string{"create", "allocate", "write", "sync"} {
		t.Run(call, func(t *testing.T) {
			disk := newMemory()
			l, err := openLog(disk, "disk", 512<<10)
			require.NoError(t, err)
			full := func(c string) error {
				if c == call {
					return syscall.ENOSPC
				}
				return nil
			}
			tried := 0
			l.start = func(f func()) {
				tried++
				disk.fault = full
				f()
				disk.fault = nil
			}
			last := until(t, l, 2, 0)
			require.Equal(t, 1, tried)
			require.NotContains(t, disk.names, newName)
			for tried == 1 {
				last++
				require.NoError(t, l.StoreLog(entry(last, 5000)))
			}
			for err == nil && l.segments[len(l.segments)-1].number == 2 {
				if room := l.segments[len(l.segments)-1]; room.size-room.end < 5200 {
					disk.fault = full
				}
				last++
				err = l.StoreLog(entry(last, 5000))
			}
			require.ErrorIs(t, err, syscall.ENOSPC)
			disk.fault = nil
			require.NoError(t, l.Close())
		})
	}
}

// TestAheadIsRemoved leaves nothing of a file that a process was making when it ended, and fills files on a real disk.
func TestAheadIsRemoved(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 0)
	storeMany(t, l, 1, 140)
	require.NotNil(t, l.ahead)
	<-l.ahead.done
	info, err := os.Stat(filepath.Join(dir, dirName, newName))
	require.NoError(t, err)
	require.EqualValues(t, firstBytes*growth, info.Size())
	require.NoError(t, l.Close())
	require.NoFileExists(t, filepath.Join(dir, dirName, newName))
}
