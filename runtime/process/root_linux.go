package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// root is the file system a container sees: the host's, with mounts on top. Where the path of a mount does not exist,
// the deepest directory that does is replaced by an empty one in memory, into which everything that was in it is
// bound, and the rest of the path is made there. Nothing is ever created on the host's own file systems.
type root struct {
	path string
	made map[string]bool // directories in memory, absolute host paths below path
}

// newRoot moves the calling thread, which must be locked, into a new mount namespace with such a root. The file that it
// returns holds the namespace.
func newRoot(path string, mounts []*runtimeapi.Mount, readonly bool) (ns *os.File, err error) {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("/", path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return nil, fmt.Errorf("bind / to %s: %w", path, err)
	}
	r := &root{path: path, made: map[string]bool{}}
	mounts = slices.Clone(mounts)
	slices.SortStableFunc(mounts, func(a, b *runtimeapi.Mount) int {
		return strings.Count(filepath.Clean(a.ContainerPath), "/") - strings.Count(filepath.Clean(b.ContainerPath), "/")
	})
	targets := make([]string, len(mounts))
	if readonly {
		// Mount points must be there before the root can't be written any more.
		for i, m := range mounts {
			if targets[i], err = r.target(m); err != nil {
				return nil, mountError(m, err)
			}
		}
		if err := setReadonly(path, true); err != nil {
			return nil, fmt.Errorf("make the root read-only: %w", err)
		}
	}
	for i, m := range mounts {
		if !readonly {
			if targets[i], err = r.target(m); err != nil {
				return nil, mountError(m, err)
			}
		}
		if err := bind(m, targets[i]); err != nil {
			return nil, mountError(m, err)
		}
	}
	if ns, err = os.Open("/proc/thread-self/ns/mnt"); err != nil {
		return nil, err
	}
	if err := pivot(path); err != nil {
		ns.Close()
		return nil, err
	}
	return ns, nil
}

func mountError(m *runtimeapi.Mount, err error) error {
	return &launchError{reason: fmt.Sprintf("mount %s at %s", m.HostPath, m.ContainerPath), err: err}
}

func pivot(path string) error {
	if err := unix.Chdir(path); err != nil {
		return err
	}
	err := unix.PivotRoot(".", ".")
	if errors.Is(err, unix.EINVAL) { // the host's root is an initramfs, which can't be left
		if err := unix.Mount(path, "/", "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move the root: %w", err)
		}
		if err := unix.Chroot("."); err != nil {
			return fmt.Errorf("change the root: %w", err)
		}
		return unix.Chdir("/")
	} else if err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return unix.Chdir("/")
}

// bind mounts m.HostPath at target. Mount flags that the host's mount has are kept, as they must be in a user
// namespace.
func bind(m *runtimeapi.Mount, target string) error {
	if err := unix.Mount(m.HostPath, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if !m.Readonly && !m.RecursiveReadOnly {
		return nil
	}
	return setReadonly(target, m.RecursiveReadOnly)
}

func setReadonly(target string, recursive bool) error {
	var flags uint
	if recursive {
		flags = unix.AT_RECURSIVE
	}
	err := unix.MountSetattr(unix.AT_FDCWD, target, flags, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if !errors.Is(err, unix.ENOSYS) || recursive {
		return err
	}
	var fs unix.Statfs_t // Linux before 5.12
	if err := unix.Statfs(target, &fs); err != nil {
		return err
	}
	keep := uintptr(fs.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME)
	return unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|keep, "")
}

// target makes the mount point of m, and returns its path outside the root.
func (r *root) target(m *runtimeapi.Mount) (string, error) {
	info, err := os.Stat(m.HostPath)
	if errors.Is(err, os.ErrNotExist) { // as containerd does
		if err = os.MkdirAll(m.HostPath, 0o755); err == nil {
			info, err = os.Stat(m.HostPath)
		}
	}
	if err != nil {
		return "", err
	}
	at, missing, err := r.resolve(m.ContainerPath)
	if err != nil {
		return "", err
	}
	if len(missing) == 0 {
		there, err := os.Stat(filepath.Join(r.path, at))
		if err != nil {
			return "", err
		}
		if there.IsDir() != info.IsDir() {
			return "", errors.New("one is a directory and the other is not")
		}
		return filepath.Join(r.path, at), nil
	}
	if !r.made[at] {
		if err := r.mirror(at); err != nil {
			return "", fmt.Errorf("make room in %s: %w", at, err)
		}
	}
	for i, name := range missing {
		at = filepath.Join(at, name)
		full := filepath.Join(r.path, at)
		if i == len(missing)-1 && !info.IsDir() {
			if err := os.WriteFile(full, nil, 0o644); err != nil {
				return "", err
			}
			break
		}
		if err := os.Mkdir(full, 0o755); err != nil {
			return "", err
		}
		r.made[at] = true
	}
	return filepath.Join(r.path, at), nil
}

// resolve follows links inside the root: at is as far as the path exists, missing is the rest.
func (r *root) resolve(path string) (at string, missing []string, err error) {
	at = "/"
	rest := strings.Split(filepath.Clean("/"+path), "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(filepath.Join(r.path, next))
		if errors.Is(err, os.ErrNotExist) {
			missing, err = plain(append([]string{name}, rest...))
			return at, missing, err
		} else if err != nil {
			return "", nil, err
		}
		if info.Mode()&os.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > 40 {
			return "", nil, unix.ELOOP
		}
		link, err := os.Readlink(filepath.Join(r.path, next))
		if err != nil {
			return "", nil, err
		}
		if filepath.IsAbs(link) {
			at = "/"
		}
		rest = append(strings.Split(link, "/"), rest...)
	}
	return at, nil, nil
}

// plain drops the elements of a path that name nothing. A way back out of what does not exist is an error.
func plain(names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		switch name {
		case "", ".":
		case "..":
			return nil, fmt.Errorf("link through a missing directory: %w", os.ErrNotExist)
		default:
			out = append(out, name)
		}
	}
	return out, nil
}

// mirror replaces a directory by one in memory that has the same entries.
func (r *root) mirror(dir string) error {
	full := filepath.Join(r.path, dir)
	old, err := os.Open(full)
	if err != nil {
		return err
	}
	defer old.Close()
	info, err := old.Stat()
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return unix.ENOTDIR
	}
	entries, err := old.ReadDir(-1)
	if err != nil {
		return err
	}
	mode := fmt.Sprintf("mode=%o", info.Mode().Perm())
	if info.Mode()&os.ModeSticky != 0 {
		mode = fmt.Sprintf("mode=1%03o", info.Mode().Perm())
	}
	if err := unix.Mount("keelson", full, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, mode); err != nil {
		return err
	}
	// What was below is reached through the directory that is still open.
	below := "/proc/self/fd/" + strconv.Itoa(int(old.Fd()))
	for _, entry := range entries {
		if err := mirrorEntry(filepath.Join(below, entry.Name()), filepath.Join(full, entry.Name()), entry); err != nil &&
			!errors.Is(err, os.ErrNotExist) { // gone since
			return fmt.Errorf("%s: %w", entry.Name(), err)
		}
	}
	r.made[dir] = true
	return nil
}

func mirrorEntry(from, to string, entry os.DirEntry) error {
	switch {
	case entry.Type()&os.ModeSymlink != 0:
		link, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(link, to)
	case entry.IsDir():
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
	default:
		if err := os.WriteFile(to, nil, 0o644); err != nil {
			return err
		}
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		os.Remove(to)
		return err
	}
	return nil
}
