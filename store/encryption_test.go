package store_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

func key(id string) store.Key {
	secret := bytes.Repeat([]byte{0xa7}, store.KeySize)
	copy(secret, id)
	return store.Key{ID: id, Secret: secret}
}

// found returns the files below dir that have one of the texts in them.
func found(t *testing.T, dir string, texts ...string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		for _, text := range texts {
			if bytes.Contains(content, []byte(text)) {
				files = append(files, path)
				break
			}
		}
		return err
	})
	require.NoError(t, err)
	return files
}

// fillStore writes keys and values that can be found in a file, and returns texts to look for.
func fillStore(t *testing.T, s *store.Store, from, to int) []string {
	t.Helper()
	for i := from; i < to; i++ {
		_, err := s.Put(t.Context(), store.PutRequest{Key: fmt.Appendf(nil, "nameofkey/%d", i), Value: fmt.Appendf(nil, "contentofvalue %d", i)})
		require.NoError(t, err)
	}
	return []string{"nameofkey", "contentofvalue"}
}

// TestEncryption shows that nothing stored is in any file in the clear, and that it can be read with its keys only.
func TestEncryption(t *testing.T) {
	backup, err := store.Open(t.Context(), store.Config{})
	require.NoError(t, err)
	defer backup.Close()
	fillStore(t, backup, 1000, 1100)
	var snapshot bytes.Buffer
	require.NoError(t, backup.Snapshot(t.Context(), &snapshot))
	require.Contains(t, snapshot.String(), "contentofvalue", "a back-up is as it is")

	run := func(dir string, keys store.Keyring) (store.RangeResult, []string) {
		s := openDir(t, store.Config{Dir: dir, Keys: keys, Restore: bytes.NewReader(snapshot.Bytes())})
		fillStore(t, s, 0, 100)
		_, err := s.SaveSnapshot()
		require.NoError(t, err)
		texts := fillStore(t, s, 100, 200)
		files := found(t, dir, texts...)
		all := everything(t, s)
		require.NoError(t, s.Close())
		require.Len(t, all.KVs, 300)
		return all, append(files, found(t, dir, texts...)...)
	}
	_, files := run(t.TempDir(), nil)
	require.Len(t, files, 6, "the check itself works: log and two snapshots, open and closed: %v", files)
	dir := t.TempDir()
	want, files := run(dir, store.StaticKeys{key("first")})
	require.Empty(t, files)

	for name, keys := range map[string]store.Keyring{
		"none": nil, "another": store.StaticKeys{key("second")}, "wrong": store.StaticKeys{{ID: "first", Secret: key("second").Secret}},
	} {
		_, err := store.Open(t.Context(), store.Config{Dir: dir, Keys: keys})
		require.ErrorIs(t, err, store.ErrKey, name)
		require.NotErrorIs(t, err, store.ErrCorrupt, name)
		var missing *store.KeyError
		require.ErrorAs(t, err, &missing, name)
		require.Equal(t, "first", missing.ID, name)
	}
	_, err = store.Open(t.Context(), store.Config{Dir: dir, Keys: store.StaticKeys{{ID: "first", Secret: []byte("short")}}})
	require.ErrorIs(t, err, store.ErrKey)
	_, err = store.Open(t.Context(), store.Config{Dir: dir, Keys: store.StaticKeys{}})
	require.ErrorIs(t, err, store.ErrKey)

	s := openDir(t, store.Config{Dir: dir, Keys: store.StaticKeys{key("first")}})
	require.Equal(t, want, everything(t, s))
	require.NoError(t, s.Close())
}

// TestKeyOfASnapshot has all that needs the key in a snapshot: the log has no entry after it.
func TestKeyOfASnapshot(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, store.Config{Dir: dir, Keys: store.StaticKeys{key("first")}})
	fillStore(t, s, 0, 20)
	_, err := s.SaveSnapshot()
	require.NoError(t, err)
	require.NoError(t, s.Close())
	for name, keys := range map[string]store.Keyring{
		"none": nil, "another": store.StaticKeys{key("second")}, "wrong": store.StaticKeys{{ID: "first", Secret: key("second").Secret}},
	} {
		_, err := store.Open(t.Context(), store.Config{Dir: dir, Keys: keys})
		require.ErrorIs(t, err, store.ErrKey, name)
		require.NotErrorIs(t, err, store.ErrCorrupt, name)
		_, err = store.Recover(t.Context(), dir, store.RecoverOptions{FileOptions: store.FileOptions{Keys: keys}})
		require.ErrorIs(t, err, store.ErrKey, name)
		require.NotErrorIs(t, err, store.ErrCorrupt, name)
		report, err := store.Verify(t.Context(), dir, store.FileOptions{Keys: keys})
		require.NoError(t, err, name)
		require.NoError(t, report.Err(), name)
		require.Nil(t, report.Contents, name)
		require.Positive(t, report.Keys["first"], name)
	}
	s = openDir(t, store.Config{Dir: dir, Keys: store.StaticKeys{key("first")}})
	require.Len(t, everything(t, s).KVs, 20)
	require.NoError(t, s.Close())
}

// TestKeyRotation goes from no key to a first and a second, and retires what came before.
func TestKeyRotation(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, store.Config{Dir: dir})
	texts := fillStore(t, s, 0, 50)
	require.ErrorIs(t, s.Reencrypt(t.Context()), store.ErrConfig)
	require.NoError(t, s.Close())

	path := filepath.Join(t.TempDir(), "keys")
	line := func(id string) []byte {
		return fmt.Appendf(nil, "%s %s\n", id, base64.StdEncoding.EncodeToString(key(id).Secret))
	}
	first := line("AAA")
	require.NoError(t, os.WriteFile(path, first, 0o600))
	s = openDir(t, store.Config{Dir: dir, Keys: store.KeyFile(path)})
	fillStore(t, s, 50, 100)
	require.NotEmpty(t, found(t, dir, texts...), "what was there before is in the clear")
	require.NoError(t, s.Reencrypt(t.Context()))
	fillStore(t, s, 100, 150)
	require.NoError(t, os.WriteFile(path, append(line("BBB"), first...), 0o600))
	fillStore(t, s, 150, 200)
	want := everything(t, s)
	require.NoError(t, s.Close())

	// Both are in use until all has been encrypted again.
	require.NoError(t, os.WriteFile(path, line("BBB"), 0o600))
	_, err := store.Open(t.Context(), store.Config{Dir: dir, Keys: store.KeyFile(path)})
	var missing *store.KeyError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, "AAA", missing.ID)
	require.NoError(t, os.WriteFile(path, append(line("BBB"), first...), 0o600))
	s = openDir(t, store.Config{Dir: dir, Keys: store.KeyFile(path)})
	require.Equal(t, want, everything(t, s))
	require.NoError(t, s.Reencrypt(t.Context()))
	require.NoError(t, s.Reencrypt(t.Context()), "again")
	fillStore(t, s, 200, 250)
	want = everything(t, s)
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(path, line("BBB"), 0o600))
	s = openDir(t, store.Config{Dir: dir, Keys: store.KeyFile(path)})
	require.Equal(t, want, everything(t, s))
	require.NoError(t, s.Close())
}

// TestMembersWithOwnKeys has members of one cluster encrypt with different keys, or not at all, one being sent a
// snapshot.
func TestMembersWithOwnKeys(t *testing.T) {
	net := newSimnet()
	var peers []store.Peer
	for _, name := range simNames {
		peers = append(peers, store.Peer{Name: name, Addr: name})
	}
	dirs := map[string]string{}
	open := func(name string) *store.Store {
		if dirs[name] == "" {
			dirs[name] = t.TempDir()
		}
		var keys store.Keyring
		if name != "c" {
			keys = store.StaticKeys{key("of " + name)}
		}
		s, err := store.Open(t.Context(), store.Config{
			Name: name, Peers: peers, Listener: net.listen(name), Dial: net.dial(name), Dir: dirs[name], Keys: keys,
		})
		require.NoError(t, err)
		return s
	}
	a, b := open("a"), open("b")
	texts := fillStore(t, a, 0, 50)
	require.NoError(t, a.Reencrypt(t.Context()))
	require.NoError(t, b.Reencrypt(t.Context()), "and now both have but their snapshots")
	c := open("c")
	fillStore(t, c, 50, 100)
	want := everything(t, a)
	require.Len(t, want.KVs, 100)
	for _, s := range []*store.Store{a, b, c} {
		require.Equal(t, want, everything(t, s))
	}
	for _, s := range []*store.Store{a, b, c} {
		require.NoError(t, s.Close())
	}
	require.Empty(t, found(t, dirs["a"], texts...))
	require.Empty(t, found(t, dirs["b"], texts...))
	require.Len(t, found(t, dirs["c"], texts...), 2, "its log, and the snapshot that it was sent")
	require.NotEmpty(t, found(t, dirs["a"], "of a"), "the key's name")
}
