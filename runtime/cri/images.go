package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ListImages implements CRI.
func (r *Runtime) ListImages(ctx context.Context, filter *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	answer, err := call(ctx, r, "ListImages", r.config.CallTimeout, r.img.ListImages, &runtimeapi.ListImagesRequest{Filter: filter})
	return answer.GetImages(), err
}

// ImageStatus implements CRI.
func (r *Runtime) ImageStatus(ctx context.Context, spec *runtimeapi.ImageSpec, verbose bool) (*runtimeapi.ImageStatusResponse, error) {
	return call(ctx, r, "ImageStatus", r.config.CallTimeout, r.img.ImageStatus, &runtimeapi.ImageStatusRequest{Image: spec, Verbose: verbose})
}

// PullImage implements CRI.
func (r *Runtime) PullImage(ctx context.Context, spec *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, sandbox *runtimeapi.PodSandboxConfig) (string, error) {
	answer, err := call(ctx, r, "PullImage", r.config.PullTimeout, r.img.PullImage, &runtimeapi.PullImageRequest{Image: spec, Auth: auth, SandboxConfig: sandbox})
	return answer.GetImageRef(), err
}

// RemoveImage implements CRI.
func (r *Runtime) RemoveImage(ctx context.Context, spec *runtimeapi.ImageSpec) error {
	_, err := call(ctx, r, "RemoveImage", r.config.CallTimeout, r.img.RemoveImage, &runtimeapi.RemoveImageRequest{Image: spec})
	return err
}

// ImageFsInfo implements CRI.
func (r *Runtime) ImageFsInfo(ctx context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	return call(ctx, r, "ImageFsInfo", r.config.CallTimeout, r.img.ImageFsInfo, &runtimeapi.ImageFsInfoRequest{})
}
