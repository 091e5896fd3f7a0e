package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// images is the list of names that were pulled. There is nothing else to an image here.
type images struct {
	path string

	mu     sync.Mutex
	names  map[string]bool
	saving chan struct{} // one token: held while the file is written
}

func openImages(path string) (*images, error) {
	i := &images{path: path, names: map[string]bool{}, saving: make(chan struct{}, 1)}
	i.saving <- struct{}{}
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return i, nil
	} else if err != nil {
		return nil, err
	}
	var names []string
	if err := json.Unmarshal(content, &names); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, name := range names {
		i.names[name] = true
	}
	return i, nil
}

func (i *images) set(name string, there bool) error {
	<-i.saving
	defer func() { i.saving <- struct{}{} }()
	i.mu.Lock()
	same := i.names[name] == there
	if there {
		i.names[name] = true
	} else {
		delete(i.names, name)
	}
	names := slices.Sorted(maps.Keys(i.names))
	i.mu.Unlock()
	if same {
		return nil
	}
	return writeRecord(i.path, names)
}

func (i *images) list() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Sorted(maps.Keys(i.names))
}

func image(name string) *runtimeapi.Image {
	return &runtimeapi.Image{Id: name, RepoTags: []string{name}, Size: 1, Spec: &runtimeapi.ImageSpec{Image: name}}
}

// PullImage implements CRI: it records the name, once the resolver, if there is one, has accepted it.
func (r *Runtime) PullImage(ctx context.Context, spec *runtimeapi.ImageSpec, _ *runtimeapi.AuthConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	name := spec.GetImage()
	if name == "" {
		return "", status.Error(codes.InvalidArgument, "image has no name")
	}
	if r.config.Images != nil {
		if _, err := r.config.Images.Resolve(ctx, name); err != nil {
			return "", status.Errorf(codes.NotFound, "image %q: %v", name, err)
		}
	}
	if err := r.images.set(name, true); err != nil {
		return "", status.Errorf(codes.Internal, "record image %q: %v", name, err)
	}
	return name, nil
}

// ListImages implements CRI.
func (r *Runtime) ListImages(ctx context.Context, filter *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	var out []*runtimeapi.Image
	for _, name := range r.images.list() {
		if want := filter.GetImage().GetImage(); want == "" || want == name {
			out = append(out, image(name))
		}
	}
	return out, nil
}

// ImageStatus implements CRI: the image is nil in the answer for a name that was not pulled.
func (r *Runtime) ImageStatus(ctx context.Context, spec *runtimeapi.ImageSpec, verbose bool) (*runtimeapi.ImageStatusResponse, error) {
	out := &runtimeapi.ImageStatusResponse{}
	if slices.Contains(r.images.list(), spec.GetImage()) {
		out.Image = image(spec.GetImage())
	}
	return out, nil
}

// RemoveImage implements CRI.
func (r *Runtime) RemoveImage(ctx context.Context, spec *runtimeapi.ImageSpec) error {
	if err := r.images.set(spec.GetImage(), false); err != nil {
		return status.Errorf(codes.Internal, "forget image %q: %v", spec.GetImage(), err)
	}
	return nil
}

// ImageFsInfo implements CRI: images take no space.
func (r *Runtime) ImageFsInfo(ctx context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	fs := &runtimeapi.FilesystemUsage{
		Timestamp: time.Now().UnixNano(), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: r.config.Root},
		UsedBytes: &runtimeapi.UInt64Value{}, InodesUsed: &runtimeapi.UInt64Value{},
	}
	return &runtimeapi.ImageFsInfoResponse{
		ImageFilesystems: []*runtimeapi.FilesystemUsage{fs}, ContainerFilesystems: []*runtimeapi.FilesystemUsage{cloneProto(fs)},
	}, nil
}
