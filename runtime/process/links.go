package process

import (
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// checkMount refuses what no container of processes can have, with or without a mount namespace.
func checkMount(m *runtimeapi.Mount) error {
	if m.Image.GetImage() != "" {
		return status.Errorf(codes.InvalidArgument, "mount at %s is of an image: processes have no images", m.ContainerPath)
	}
	if !filepath.IsAbs(m.ContainerPath) || !filepath.IsAbs(m.HostPath) || filepath.Clean(m.ContainerPath) == "/" {
		return status.Errorf(codes.InvalidArgument, "mount of %q at %q: want absolute paths, and not the root", m.HostPath, m.ContainerPath)
	}
	return nil
}

// linkMounts puts links to a container's mounts below a directory of its own, which it returns. Nothing makes them
// read-only. A container that is made again finds the same directory, so links that are there already are replaced.
func linkMounts(s *sandbox, config *runtimeapi.ContainerConfig) (string, error) {
	name := config.Metadata.Name
	if !filepath.IsLocal(name) || filepath.Base(name) != name {
		return "", status.Errorf(codes.InvalidArgument, "container name %q can't be that of a directory, which its mounts need here", name)
	}
	below := filepath.Join(s.dir, mountsDir, name)
	for i, m := range config.Mounts {
		if err := checkMount(m); err != nil {
			return "", err
		}
		at := filepath.Clean(m.ContainerPath)
		for j, other := range config.Mounts {
			outer := filepath.Clean(other.ContainerPath)
			if i != j && (at == outer || strings.HasPrefix(at, outer+"/")) {
				return "", status.Errorf(codes.InvalidArgument, "mount at %s is within the mount at %s: without a mount namespace mounts can't be nested", at, outer)
			}
		}
		link := filepath.Join(below, at)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return "", status.Errorf(codes.Internal, "mount at %s: %v", at, err)
		}
		if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
			return "", status.Errorf(codes.Internal, "mount at %s: %v", at, err)
		}
		if err := os.Symlink(filepath.Clean(m.HostPath), link); err != nil {
			return "", status.Errorf(codes.Internal, "mount at %s: %v", at, err)
		}
	}
	return below, nil
}
