package volume

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// dataLink is the link to the current set of files; upstream's name, which some programs watch.
const dataLink = "..data"

// File is one file's content and permission bits.
type File struct {
	Data []byte
	Mode fs.FileMode
}

// Files maps slash-separated paths, relative to the volume, to files.
type Files map[string]File

// Check tells whether name may be a file's path in a volume: relative, clean, no element "..", the first element not
// beginning with "..".
func Check(name string) error {
	if !fs.ValidPath(name) || name == "." || strings.HasPrefix(name, "..") || strings.ContainsRune(name, 0) {
		return fmt.Errorf("volume path %q: want a relative path without .. that does not begin with ..", name)
	}
	return nil
}

// Write makes dir hold exactly files and reports whether that changed anything. dir is made when missing.
func Write(root *os.Root, dir string, files Files) (bool, error) {
	for name := range files {
		if err := Check(name); err != nil {
			return false, err
		}
	}
	if err := MakeDir(root, dir, 0o755); err != nil {
		return false, err
	}
	version := "..v" + fingerprint(files)
	current, err := root.Readlink(path.Join(dir, dataLink))
	if err == nil && current == version {
		return false, tidy(root, dir, version, files)
	}
	if err := fill(root, path.Join(dir, version), files); err != nil {
		return false, err
	}
	temporary := path.Join(dir, "..data_next")
	if err := root.RemoveAll(temporary); err != nil {
		return false, err
	}
	if err := root.Symlink(version, temporary); err != nil {
		return false, err
	}
	if err := root.Rename(temporary, path.Join(dir, dataLink)); err != nil {
		return false, err
	}
	return true, tidy(root, dir, version, files)
}

// fingerprint names a set of files by their content.
func fingerprint(files Files) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f := files[name]
		fmt.Fprintf(h, "%q %o %d\n", name, f.Mode, len(f.Data))
		h.Write(f.Data)
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// fill writes files into a fresh directory; what a crash left there goes first.
func fill(root *os.Root, dir string, files Files) error {
	if err := root.RemoveAll(dir); err != nil {
		return err
	}
	if err := MakeDir(root, dir, 0o755); err != nil {
		return err
	}
	for name, f := range files {
		full := path.Join(dir, name)
		if parent := path.Dir(name); parent != "." {
			if err := MakeDir(root, path.Join(dir, parent), 0o755); err != nil {
				return err
			}
		}
		if err := root.WriteFile(full, f.Data, 0o600); err != nil {
			return err
		}
		if err := root.Chmod(full, f.Mode.Perm()); err != nil {
			return err
		}
	}
	return nil
}

// tidy makes the visible names of the current version and removes everything else.
func tidy(root *os.Root, dir, version string, files Files) error {
	want := map[string]bool{}
	for name := range files {
		first, _, _ := strings.Cut(name, "/")
		want[first] = true
	}
	entries, err := fs.ReadDir(root.FS(), dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if want[name] && e.Type() == fs.ModeSymlink {
			delete(want, name)
			continue
		}
		if name == dataLink || name == version {
			continue
		}
		if err := root.RemoveAll(path.Join(dir, name)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if err := root.Symlink(path.Join(dataLink, name), path.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// MakeDir makes dir and its parents; dir itself gets exactly the permission bits of mode, whatever the umask. What exists
// keeps its own.
func MakeDir(root *os.Root, dir string, mode fs.FileMode) error {
	if info, err := root.Lstat(dir); err == nil && info.IsDir() {
		return nil
	}
	if err := root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return root.Chmod(dir, mode)
}
