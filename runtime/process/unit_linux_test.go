package process

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	stat, err := parseStat([]byte("42 (a) b (c) S 7 42 40 0 -1 4194560 99 0 0 0 11 12 13 14 20 0 1 0 123456 1000 77 18446744073709551615\n"))
	require.NoError(t, err)
	require.Equal(t, procStat{state: 'S', parent: 7, session: 40, faults: 99, utime: 11, stime: 12, cutime: 13, cstime: 14, start: 123456, rss: 77}, stat)
	for _, bad := range []string{"", "42 (a S 1", "42 (a) S 1 2 3"} {
		_, err := parseStat([]byte(bad))
		require.Error(t, err, bad)
	}
	start, ok := startTime(os.Getpid())
	require.True(t, ok)
	require.True(t, alive(processID{PID: os.Getpid(), Start: start, Boot: bootID()}))
	require.False(t, alive(processID{PID: os.Getpid(), Start: start + 1, Boot: bootID()}), "another process of that pid")
	require.False(t, alive(processID{PID: os.Getpid(), Start: start, Boot: "another boot"}))
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (a) S 7 42 40 0 -1 4194560 99 0 0 0 11 12 13 14 20 0 1 0 123456 1000 77"))
	f.Fuzz(func(t *testing.T, data []byte) { parseStat(data) })
}

// Links of the root are followed inside the root, never out of it.
func TestResolve(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "run/lock"), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "var"), 0o755))
	for name, link := range map[string]string{"var/run": "/run", "var/rel": "../run", "out": "../../../../run", "loop": "/loop", "gone": "/none/x"} {
		require.NoError(t, os.Symlink(link, filepath.Join(dir, name)))
	}
	r := &root{path: dir}
	for path, want := range map[string]struct {
		at      string
		missing []string
	}{
		"/run/lock":         {"/run/lock", nil},
		"/var/run/secrets/": {"/run", []string{"secrets"}},
		"/var/rel/lock":     {"/run/lock", nil},
		"/out/lock":         {"/run/lock", nil},
		"/../run/./lock":    {"/run/lock", nil},
		"/a/b/c":            {"/", []string{"a", "b", "c"}},
		"/gone/y":           {"/", []string{"none", "x", "y"}},
	} {
		at, missing, err := r.resolve(path)
		require.NoError(t, err, path)
		require.Equal(t, want.at, at, path)
		require.Equal(t, want.missing, missing, path)
	}
	_, _, err := r.resolve("/loop/x")
	require.ErrorIs(t, err, unix.ELOOP)
}
