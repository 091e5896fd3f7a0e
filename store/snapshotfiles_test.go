package store

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// writeSnapshot makes a snapshot of this content.
func writeSnapshot(t *testing.T, s *snapshotFiles, index uint64, content string) string {
	t.Helper()
	sink, err := s.Create(1, index, 2, raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "b"}}}, 1, nil)
	require.NoError(t, err)
	_, err = io.WriteString(sink, content)
	require.NoError(t, err)
	require.NoError(t, sink.Close())
	return sink.ID()
}

func readSnapshot(t *testing.T, s *snapshotFiles, id string) string {
	t.Helper()
	meta, r, err := s.Open(id)
	require.NoError(t, err)
	content, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close(), "as Raft does")
	require.EqualValues(t, len(content), meta.Size)
	require.Equal(t, id, meta.ID)
	return string(content)
}

func TestSnapshotFiles(t *testing.T) {
	for name, seal := range map[string]*sealer{"plain": nil, "encrypted": testSealer(t, 1, testKey("k"))} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := openSnapshotFiles(dir, 1, seal, zap.NewNop())
			require.NoError(t, err)
			list, err := s.List()
			require.NoError(t, err)
			require.Empty(t, list)
			first := writeSnapshot(t, s, 10, "first")
			second := writeSnapshot(t, s, 10, "second") // two in a row, of the same index
			third := writeSnapshot(t, s, 300, "third")
			list, err = s.List()
			require.NoError(t, err)
			require.Len(t, list, 2, "the first is gone")
			require.Equal(t, []string{third, second}, []string{list[0].ID, list[1].ID})
			require.Equal(t, raft.SnapshotMeta{
				Version: 1, ID: third, Index: 300, Term: 2, ConfigurationIndex: 1, Size: 5,
				Configuration: raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "b"}}},
			}, *list[0])
			_, _, err = s.Open(first)
			require.ErrorIs(t, err, os.ErrNotExist)
			require.Equal(t, "third", readSnapshot(t, s, third))

			// What is not complete does not count, and is removed; one under way is not in the way of others.
			half, err := s.Create(1, 400, 2, raft.Configuration{}, 1, nil)
			require.NoError(t, err)
			_, err = io.WriteString(half, "half")
			require.NoError(t, err)
			cancelled, err := s.Create(1, 500, 2, raft.Configuration{}, 1, nil)
			require.NoError(t, err)
			require.NoError(t, cancelled.Cancel())
			require.NoError(t, cancelled.Cancel())
			temps, err := filepath.Glob(filepath.Join(dir, snapshotDir, "*"+tempSuffix))
			require.NoError(t, err)
			require.Len(t, temps, 1)
			again, err := openSnapshotFiles(dir, 1, seal, zap.NewNop())
			require.NoError(t, err)
			temps, err = filepath.Glob(filepath.Join(dir, snapshotDir, "*"+tempSuffix))
			require.NoError(t, err)
			require.Empty(t, temps)
			require.Error(t, half.Close(), "its file is gone")
			fourth := writeSnapshot(t, again, 300, "fourth")
			list, err = again.List()
			require.NoError(t, err)
			require.Equal(t, []string{fourth, third}, []string{list[0].ID, list[1].ID})

			// A file under another's name, or of another directory, is damage.
			stranger, err := openSnapshotFiles(dir, 2, seal, zap.NewNop())
			require.NoError(t, err)
			_, err = stranger.List()
			require.ErrorIs(t, err, ErrCorrupt)
			require.NoError(t, os.Rename(filepath.Join(s.dir, fourth), filepath.Join(s.dir, snapshotName{2, 301, 9}.String())))
			list, err = again.List()
			require.NoError(t, err)
			require.Len(t, list, 1)
			require.ErrorIs(t, again.started(), ErrCorrupt)
			require.NoError(t, os.Mkdir(filepath.Join(s.dir, "2-300-1789"), 0o700))
			_, err = again.List()
			require.ErrorIs(t, err, ErrVersion, "as Raft's own snapshots look")
		})
	}
}

// snapshotted makes a directory with two snapshots and entries after them, and says where the snapshots are, the older
// first. With trailing entries the log goes back to before the older one.
func snapshotted(t *testing.T, keys Keyring, trailing bool) (dir string, files []string, keysHeld int64) {
	t.Helper()
	dir = t.TempDir()
	cfg := Config{Dir: dir, Keys: keys}
	if !trailing {
		cfg.Name, cfg.Peers = "", nil
	}
	s, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	put := func(n int) {
		for range n {
			_, err := s.Put(t.Context(), PutRequest{Key: fmt.Append(nil, keysHeld), Value: bytes.Repeat([]byte("v"), 1000)})
			require.NoError(t, err)
			keysHeld++
		}
	}
	between := 20
	if !trailing {
		between = trailingEntries + 5
	}
	for range 2 {
		put(between)
		_, err := s.SaveSnapshot()
		require.NoError(t, err)
	}
	put(5)
	require.NoError(t, s.Close())
	files, err = filepath.Glob(filepath.Join(dir, snapshotDir, "*"+snapshotSuffix))
	require.NoError(t, err)
	slices.Sort(files)
	require.Len(t, files, 2)
	return dir, files, keysHeld
}

func flip(t *testing.T, path string, at func(size int) int) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	content[at(len(content))] ^= 0x10
	require.NoError(t, os.WriteFile(path, content, 0o600))
}

func first(int) int       { return 0 }
func middle(size int) int { return size / 2 }
func last(size int) int   { return size - 1 }

// TestDamagedSnapshot has the newest snapshot damaged, or both: the store has everything or says what is wrong.
func TestDamagedSnapshot(t *testing.T) {
	for _, keys := range []Keyring{nil, StaticKeys{testKey("k")}} {
		for name, at := range map[string]func(int) int{"magic": first, "content": middle, "end": last} {
			t.Run(fmt.Sprint(name, keys != nil), func(t *testing.T) {
				dir, files, held := snapshotted(t, keys, true)
				flip(t, files[1], at)
				for range 2 { // and once more from what the first one left
					s, err := Open(t.Context(), Config{Dir: dir, Keys: keys})
					require.NoError(t, err, "the older one will do, since the log goes on after it")
					require.Equal(t, held, s.current.Load().keys)
					_, err = s.Put(t.Context(), PutRequest{Key: []byte("more")})
					require.NoError(t, err)
					require.NoError(t, s.Close())
					held = s.current.Load().keys
				}
				s, err := Open(t.Context(), Config{Dir: dir, Keys: keys})
				require.NoError(t, err)
				_, err = s.SaveSnapshot()
				require.NoError(t, err)
				require.NoError(t, s.Close())
				require.NoFileExists(t, files[1], "a new one has taken its place")

				dir, files, _ = snapshotted(t, keys, true)
				flip(t, files[0], at)
				flip(t, files[1], at)
				refused(t, Config{Dir: dir, Keys: keys}, ErrCorrupt, files[1])

				if name != "content" {
					return
				}
				dir, files, _ = snapshotted(t, keys, false)
				flip(t, files[1], at)
				refused(t, Config{Dir: dir, Keys: keys}, ErrCorrupt, files[1])
				require.NoError(t, os.Remove(files[1]))
				refused(t, Config{Dir: dir, Keys: keys}, ErrCorrupt, dir)
				require.NoError(t, os.Remove(files[0]))
				refused(t, Config{Dir: dir, Keys: keys}, ErrCorrupt, dir)
			})
		}
	}
}

func refused(t *testing.T, cfg Config, kind error, names string) {
	t.Helper()
	_, err := Open(t.Context(), cfg)
	require.ErrorIs(t, err, kind)
	require.ErrorContains(t, err, names)
}

// TestSnapshotBeyondTheLog damages a snapshot that has what the log never had: nothing older will do.
func TestSnapshotBeyondTheLog(t *testing.T) {
	dir := t.TempDir()
	var backup bytes.Buffer
	source := newState()
	source.cluster = 5
	require.NoError(t, source.snapshot().encode(&backup))
	s, err := Open(t.Context(), Config{Dir: dir})
	require.NoError(t, err)
	_, err = s.SaveSnapshot()
	require.NoError(t, err)
	require.NoError(t, s.engine.(*durable).restore(bytes.NewReader(backup.Bytes())), "a snapshot that is one further than the log")
	require.NoError(t, s.Close())
	files, err := filepath.Glob(filepath.Join(dir, snapshotDir, "*"+snapshotSuffix))
	require.NoError(t, err)
	require.Len(t, files, 2)
	flip(t, slices.Max(files), middle)
	refused(t, Config{Dir: dir}, ErrCorrupt, slices.Max(files))
}

// TestSnapshotOfANewerRelease is not damage: nothing older takes its place.
func TestSnapshotOfANewerRelease(t *testing.T) {
	dir, files, _ := snapshotted(t, nil, true)
	s, err := openSnapshotFiles(dir, 0, nil, zap.NewNop())
	require.NoError(t, err)
	id := filepath.Base(files[1])
	content := []byte(readSnapshot(t, s, id))
	content[len(snapshotMagic)] = 99
	f, meta, h, err := s.head(mustName(t, id))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.EqualValues(t, len(content), meta.Size)
	require.NoError(t, os.WriteFile(files[1], sealedBytes(t, nil, h.about, content), 0o600))
	refused(t, Config{Dir: dir}, ErrVersion, "99")
}

func mustName(t *testing.T, s string) snapshotName {
	n, ok := parseSnapshotName(s)
	require.True(t, ok)
	return n
}
