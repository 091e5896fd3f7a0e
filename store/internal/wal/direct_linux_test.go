package wal

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAppendAt appends to files that hold something else, in all the ways that there are, and reads what it has written,
// at once and when the files are closed.
func TestAppendAt(t *testing.T) {
	files := osFiles{t.TempDir()}
	directly := 0
	for name, change := range map[string]func(f *osFile, n int){
		"direct":   func(*osFile, int) {},
		"refused":  func(f *osFile, _ int) { f.direct.refused = true },
		"reopened": func(f *osFile, n int) { _ = f.direct.close() },
		// As on a file system that takes the flag and refuses the write.
		"not aligned": func(f *osFile, n int) {
			if n == 20 {
				f.direct.buffer = make([]byte, 1<<20)[1:]
			}
		},
		"another writes": func(f *osFile, n int) {
			if n%7 == 0 {
				f.direct.last = nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			const size = 3<<20 + 100
			old := bytes.Repeat([]byte{0xee}, size)
			path := filepath.Join(files.dir, name)
			require.NoError(t, os.WriteFile(path, old, 0o600))
			opened, err := files.open(name)
			require.NoError(t, err)
			f := opened.(*osFile)
			rnd := rand.New(rand.NewPCG(1, 2))
			want := bytes.Clone(old[:headerSize])
			for n := 0; ; n++ {
				change(f, n)
				length := 8 * (1 + rnd.IntN(1<<(1+rnd.IntN(11))))
				if n == 30 {
					length = keepBuffer + 8
				}
				if len(want)+length > size {
					break
				}
				p := make([]byte, length)
				for i := range p {
					p[i] = byte(rnd.Uint32())
				}
				at := len(want)
				require.NoError(t, f.appendAt(p, int64(at)))
				want = append(want, p...)
				if f.direct.file != nil && !f.direct.refused {
					directly++
				}
				got := make([]byte, len(want)-max(0, at-5000))
				_, err := f.ReadAt(got, int64(max(0, at-5000)))
				require.NoError(t, err)
				require.True(t, bytes.Equal(want[max(0, at-5000):], got), "write %d, of %d bytes at %d", n, length, at)
			}
			require.NoError(t, f.sync())
			require.NoError(t, f.Close())
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Len(t, got, size, "it is as long as it was")
			require.True(t, bytes.Equal(want, got[:len(want)]))
		})
	}
	if directly == 0 {
		t.Log("the file system has no direct writes")
	}
}

// TestDirectOfAReplacedFile does not write to a file that has taken the name.
func TestDirectOfAReplacedFile(t *testing.T) {
	files := osFiles{t.TempDir()}
	path := filepath.Join(files.dir, "f")
	require.NoError(t, os.WriteFile(path, make([]byte, 8192), 0o600))
	opened, err := files.open("f")
	require.NoError(t, err)
	require.NoError(t, os.Rename(path, path+".old"))
	require.NoError(t, os.WriteFile(path, make([]byte, 8192), 0o600))
	require.NoError(t, opened.appendAt([]byte("text"), 0))
	require.NoError(t, opened.Close())
	got, err := os.ReadFile(path + ".old")
	require.NoError(t, err)
	require.Equal(t, "text", string(got[:4]))
	got, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 8192), got)
}
