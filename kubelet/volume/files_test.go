package volume_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/kubelet/volume"
)

func ExampleWrite() {
	dir, err := os.MkdirTemp("", "volume")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	root, err := os.OpenRoot(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer root.Close()
	for _, greeting := range []string{"hello", "hello", "good evening"} {
		changed, err := volume.Write(root, "config", volume.Files{"greeting": {Data: []byte(greeting), Mode: 0o644}})
		data, _ := os.ReadFile(filepath.Join(dir, "config", "greeting"))
		fmt.Println(changed, err, string(data))
	}
	// Output:
	// true <nil> hello
	// false <nil> hello
	// true <nil> good evening
}

func open(t *testing.T) (*os.Root, string) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, root.Close()) })
	return root, dir
}

func visible(t *testing.T, dir string) map[string]string {
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		full := filepath.Join(dir, e.Name())
		info, err := os.Stat(full)
		require.NoError(t, err)
		if e.Name()[0] == '.' {
			continue
		}
		if info.IsDir() {
			out[e.Name()] = "dir"
			continue
		}
		data, err := os.ReadFile(full)
		require.NoError(t, err)
		out[e.Name()] = fmt.Sprintf("%s %v", data, info.Mode().Perm())
	}
	return out
}

func TestWriteReplacesEverythingAtOnce(t *testing.T) {
	root, dir := open(t)
	_, err := volume.Write(root, "v", volume.Files{"a": {[]byte("1"), 0o400}, "sub/b": {[]byte("2"), 0o644}})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "1 -r--------", "sub": "dir"}, visible(t, filepath.Join(dir, "v")))

	held, err := os.Open(filepath.Join(dir, "v", "a"))
	require.NoError(t, err)
	defer held.Close()
	changed, err := volume.Write(root, "v", volume.Files{"a": {[]byte("3"), 0o644}, "c": {[]byte("4"), 0o644}})
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, map[string]string{"a": "3 -rw-r--r--", "c": "4 -rw-r--r--"}, visible(t, filepath.Join(dir, "v")))
	old := make([]byte, 1)
	_, err = held.Read(old)
	require.NoError(t, err)
	require.Equal(t, "1", string(old))

	entries, err := os.ReadDir(filepath.Join(dir, "v"))
	require.NoError(t, err)
	require.Len(t, entries, 4, "..data, its directory, a and c: nothing of the old version stays")
}

func TestWriteRecoversFromACrash(t *testing.T) {
	root, dir := open(t)
	files := volume.Files{"a": {[]byte("1"), 0o644}}
	_, err := volume.Write(root, "v", files)
	require.NoError(t, err)
	target, err := os.Readlink(filepath.Join(dir, "v", "..data"))
	require.NoError(t, err)
	// The crash came between writing the files and naming them; one is half written.
	require.NoError(t, os.Remove(filepath.Join(dir, "v", "..data")))
	require.NoError(t, os.Remove(filepath.Join(dir, "v", "a")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "v", target, "a"), nil, 0o600))
	changed, err := volume.Write(root, "v", files)
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, map[string]string{"a": "1 -rw-r--r--"}, visible(t, filepath.Join(dir, "v")))
}

func TestWriteRefusesToLeave(t *testing.T) {
	root, dir := open(t)
	for _, name := range []string{"", ".", "..", "../a", "/a", "a/../../b", "..data", "a//b"} {
		_, err := volume.Write(root, "v", volume.Files{name: {}})
		require.ErrorContains(t, err, "volume path", name)
	}
	outside := t.TempDir()
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "v")))
	_, err := volume.Write(root, "v", volume.Files{"a": {[]byte("x"), 0o644}})
	require.Error(t, err)
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestMakeDirMode(t *testing.T) {
	root, dir := open(t)
	require.NoError(t, volume.MakeDir(root, "a/b", 0o777))
	info, err := os.Stat(filepath.Join(dir, "a/b"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o777), info.Mode().Perm())
	require.NoError(t, volume.MakeDir(root, "a/b", 0o700), "what exists keeps its mode")
}
