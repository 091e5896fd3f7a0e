package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// BenchmarkLogStoreFloor is what no log store can be faster than: so many bytes written over others, and one
// fdatasync.
func BenchmarkLogStoreFloor(b *testing.B) {
	for _, size := range []int{300, 300_000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "f"))
			require.NoError(b, err)
			const whole = 16 << 20
			_, err = f.Write(make([]byte, whole))
			require.NoError(b, err)
			require.NoError(b, f.Sync())
			p := make([]byte, size)
			at := 0
			for b.Loop() {
				if at+size > whole {
					at = 0
				}
				if _, err := f.WriteAt(p, int64(at)); err != nil {
					b.Fatal(err)
				}
				if err := unix.Fdatasync(int(f.Fd())); err != nil {
					b.Fatal(err)
				}
				at += size
			}
			require.NoError(b, f.Close())
		})
	}
}
