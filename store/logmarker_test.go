package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// namedLog is a bolt log that calls itself something else, and has its file elsewhere.
type namedLog struct {
	LogStore
	name string
}

func (l *namedLog) LogName() string { return l.name }

func openNamed(name string) func(dir string) (LogStore, error) {
	return func(dir string) (LogStore, error) {
		dir = filepath.Join(dir, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		logs, err := OpenBoltLog(dir)
		return &namedLog{logs, name}, err
	}
}

func putOne(t *testing.T, cfg Config, key string) {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	_, err = s.Put(t.Context(), PutRequest{Key: []byte(key)})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func refuses(t *testing.T, cfg Config, kind error) {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err == nil {
		require.NoError(t, s.Close())
	}
	require.ErrorIs(t, err, kind)
}

// TestDirectoryBelongsToItsLogStore opens directories with log stores that they were not begun with.
func TestDirectoryBelongsToItsLogStore(t *testing.T) {
	t.Run("default", func(t *testing.T) {
		for had, open := range map[string]func(string) (LogStore, error){boltName: OpenBoltLog, walName: nil} {
			dir := t.TempDir()
			putOne(t, Config{Dir: dir, OpenLog: open}, "a")
			for range 2 {
				m, err := readLogMarker(dir)
				require.NoError(t, err)
				require.Equal(t, had, m.name)
				putOne(t, Config{Dir: dir}, "b")
				require.NoError(t, os.Remove(filepath.Join(dir, markerFile))) // from before there were any
				putOne(t, Config{Dir: dir}, "c")
			}
			require.Equal(t, []string{had}, usualLogsIn(dir))
		}
	})
	t.Run("files of two and no marker", func(t *testing.T) {
		dir := t.TempDir()
		putOne(t, Config{Dir: dir, OpenLog: OpenBoltLog}, "a")
		require.NoError(t, MigrateLog(t.Context(), dir, nil, nil))
		putOne(t, Config{Dir: dir}, "b")
		require.NoError(t, os.Remove(filepath.Join(dir, markerFile)))
		refuses(t, Config{Dir: dir}, ErrLogStore)
		_, err := Verify(t.Context(), dir, FileOptions{})
		require.ErrorIs(t, err, ErrLogStore)
		putOne(t, Config{Dir: dir, OpenLog: openWAL}, "c")
	})
	for name, open := range map[string]func(string) (LogStore, error){"bolt, then another": OpenBoltLog, "wal, then another": nil} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			putOne(t, Config{Dir: dir, OpenLog: open}, "a")
			refuses(t, Config{Dir: dir, OpenLog: openNamed("other")}, ErrLogStore)
			putOne(t, Config{Dir: dir}, "b")
			require.NoError(t, os.Remove(filepath.Join(dir, markerFile)))
			refuses(t, Config{Dir: dir, OpenLog: openNamed("other")}, ErrLogStore) // from before there were markers
			putOne(t, Config{Dir: dir}, "c")
			require.FileExists(t, filepath.Join(dir, markerFile))
		})
	}
	t.Run("another, then the default", func(t *testing.T) {
		dir := t.TempDir()
		putOne(t, Config{Dir: dir, OpenLog: openNamed("other")}, "a")
		refuses(t, Config{Dir: dir}, ErrLogStore)
		require.Empty(t, usualLogsIn(dir), "nothing is made")
		refuses(t, Config{Dir: dir, OpenLog: openNamed("third")}, ErrLogStore)
		putOne(t, Config{Dir: dir, OpenLog: openNamed("other")}, "b")
	})
	t.Run("without its files", func(t *testing.T) {
		dir := t.TempDir()
		putOne(t, Config{Dir: dir}, "a")
		require.NoError(t, os.RemoveAll(filepath.Join(dir, walName)))
		refuses(t, Config{Dir: dir}, ErrCorrupt)
		dir = t.TempDir()
		putOne(t, Config{Dir: dir, OpenLog: OpenBoltLog}, "a")
		require.NoError(t, os.Remove(filepath.Join(dir, boltFile)))
		refuses(t, Config{Dir: dir}, ErrCorrupt)
	})
	t.Run("with those of another directory", func(t *testing.T) {
		dir, other := t.TempDir(), t.TempDir()
		putOne(t, Config{Dir: dir}, "a")
		putOne(t, Config{Dir: other}, "a")
		require.NoError(t, os.RemoveAll(filepath.Join(dir, walName)))
		require.NoError(t, os.Rename(filepath.Join(other, walName), filepath.Join(dir, walName)))
		refuses(t, Config{Dir: dir}, ErrLogStore)
	})
	t.Run("damaged marker", func(t *testing.T) {
		dir := t.TempDir()
		putOne(t, Config{Dir: dir}, "a")
		path := filepath.Join(dir, markerFile)
		good, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, n := range []int{0, 1, len(good) / 2} {
			require.NoError(t, os.WriteFile(path, good[:n], 0o600))
			refuses(t, Config{Dir: dir}, ErrCorrupt)
		}
		for i := range good {
			wrong := bytes.Clone(good)
			wrong[i] ^= 1
			require.NoError(t, os.WriteFile(path, wrong, 0o600))
			_, err := Open(t.Context(), Config{Dir: dir})
			require.ErrorIs(t, err, ErrCorrupt, "byte %d", i)
			require.NotErrorIs(t, err, ErrLogStore, "byte %d", i)
		}
		line, _, _ := bytes.Cut(good, []byte("\n"))
		line = append(line, '\n')
		later := bytes.Replace(line, []byte("store 1"), []byte("store 2"), 1)
		for _, sum := range []string{"", markerChecksum(string(later))} {
			require.NoError(t, os.WriteFile(path, append(bytes.Clone(later), sum...), 0o600))
			refuses(t, Config{Dir: dir}, ErrVersion)
		}
		require.NoError(t, os.WriteFile(path, line, 0o600)) // from before there was a checksum
		putOne(t, Config{Dir: dir}, "b")
		require.NoError(t, os.WriteFile(path, good, 0o600))
		putOne(t, Config{Dir: dir}, "b")
	})
}

// TestVerifyNoticesWhatIsMissing shows what a log tells of a disk that lost what it had said it had.
func TestVerifyNoticesWhatIsMissing(t *testing.T) {
	s, err := openLog(t.TempDir(), nil, func(err error) { t.Error(err) })
	require.NoError(t, err)
	defer s.close()
	require.NoError(t, s.StoreLogs([]*raft.Log{{Index: 5, Term: 1}, {Index: 6, Term: 3}}))
	require.NoError(t, s.SetUint64([]byte("CurrentTerm"), 3))
	require.NoError(t, s.verify(4))
	require.ErrorIs(t, s.verify(3), ErrCorrupt, "entry 4 is nowhere")
	require.NoError(t, s.SetUint64([]byte("CurrentTerm"), 2))
	require.ErrorIs(t, s.verify(4), ErrCorrupt, "an entry of a term that the member does not know of")
}
