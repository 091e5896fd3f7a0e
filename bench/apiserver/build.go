package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
)

// kubeModule is what is built when no binary is given. The module proxy does not serve the archive of every version of it.
const (
	kubeModule  = "k8s.io/kubernetes"
	kubeRelease = "v1.37.1"
	kubeStaging = "v0.37.1" // of the modules that its repository publishes
)

// staged finds what kube-apiserver's module takes from its own repository, where a module's archive does not have it.
var staged = regexp.MustCompile(`(?m)^\s*(?:replace )?(k8s\.io/[a-z-]+) => \./staging/`)

// buildKube builds kube-apiserver from its module, unless that was done before, and returns the binary. It makes a module of its
// own, so that bench's has nothing to do with kube-apiserver's.
func buildKube(ctx context.Context, progress io.Writer) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "keelson-bench")
	binary := filepath.Join(dir, kubeKind+"-"+kubeRelease)
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	fmt.Fprintf(progress, "building %s %s into %s, which takes ten minutes or so\n", kubeKind, kubeRelease, dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp("", "keelson-bench-kube")
	if err != nil {
		return "", err
	}
	return binary, errors.Join(buildIn(ctx, work, binary, progress), os.RemoveAll(work))
}

func buildIn(ctx context.Context, work, binary string, progress io.Writer) error {
	download := exec.CommandContext(ctx, "go", "mod", "download", "-json", kubeModule+"@"+kubeRelease)
	download.Dir, download.Env = work, append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := download.Output()
	if err != nil {
		return fmt.Errorf("bench: download %s: %w: %s", kubeModule, err, out)
	}
	var module struct{ GoMod string }
	if err := json.Unmarshal(out, &module); err != nil {
		return fmt.Errorf("bench: download %s: %w", kubeModule, err)
	}
	theirs, err := os.ReadFile(module.GoMod)
	if err != nil {
		return err
	}
	var mod bytes.Buffer
	fmt.Fprintf(&mod, "module kube\n\ngo 1.26.0\n\nrequire %s %s\n\n", kubeModule, kubeRelease)
	for _, m := range staged.FindAllSubmatch(theirs, -1) {
		fmt.Fprintf(&mod, "replace %s => %s %s\n", m[1], m[1], kubeStaging)
	}
	if err := os.WriteFile(filepath.Join(work, "go.mod"), mod.Bytes(), 0o644); err != nil {
		return err
	}
	const tools = "//go:build tools\n\npackage kube\n\nimport _ \"k8s.io/kubernetes/cmd/kube-apiserver\"\n"
	if err := os.WriteFile(filepath.Join(work, "tools.go"), []byte(tools), 0o644); err != nil {
		return err
	}
	// A binary that says no version takes itself for v0.0.0, with other features on.
	const version = "k8s.io/component-base/version."
	link := fmt.Sprintf("-X %sgitVersion=%s -X %sgitMajor=1 -X %sgitMinor=37", version, kubeRelease, version, version)
	unfinished := binary + ".unfinished"
	build := exec.CommandContext(ctx, "go", "build", "-o", unfinished, "-ldflags", link, kubeModule+"/cmd/kube-apiserver")
	build.Dir, build.Env = work, append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	build.Stdout, build.Stderr = progress, progress
	if err := build.Run(); err != nil {
		return fmt.Errorf("bench: build %s: %w", kubeModule, err)
	}
	return os.Rename(unfinished, binary)
}
