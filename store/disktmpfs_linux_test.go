package store_test

import (
	"fmt"
	"testing"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestDiskReallyFull fills a small disk: the store stops with a typed error, has lost nothing, and goes on when there
// is room.
func TestDiskReallyFull(t *testing.T) {
	for name, open := range map[string]func(string) (store.LogStore, error){"bolt": store.OpenBoltLog, "default": nil} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
				t.Skipf("a small disk can't be mounted: %v", err)
			}
			t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
			home := dir + "/store"
			cfg := store.Config{Dir: home, OpenLog: open, MinFreeBytes: -1, SnapshotEntries: 20}
			s := openDir(t, cfg)
			acked := 0
			var err error
			for ; acked < 1000; acked++ {
				if _, err = s.Put(t.Context(), store.PutRequest{Key: fmt.Append(nil, acked), Value: make([]byte, 100_000)}); err != nil {
					break
				}
			}
			require.Error(t, err, "the disk was to be full")
			require.Greater(t, acked, 10)
			_, err = s.Put(t.Context(), store.PutRequest{Key: []byte("k")})
			require.ErrorIs(t, err, store.ErrFailed)
			require.ErrorIs(t, err, store.ErrDiskFull)
			_ = s.Close()
			// Opened while it is full still, it says so, or serves what there is.
			if s, err := store.Open(t.Context(), cfg); err != nil {
				require.ErrorIs(t, err, store.ErrDiskFull)
			} else {
				_ = s.Close()
			}

			require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=400m"))
			s = openDir(t, cfg)
			defer func() { require.NoError(t, s.Close()) }()
			for i := range acked {
				_, found, err := s.Get(t.Context(), fmt.Append(nil, i))
				require.NoError(t, err)
				require.True(t, found, "write %d of %d was acknowledged", i, acked)
			}
			_, err = s.Put(t.Context(), store.PutRequest{Key: []byte("k")})
			require.NoError(t, err)
		})
	}
}
