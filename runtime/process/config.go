package process

import (
	"context"
	"net/netip"
	"time"

	"go.uber.org/zap"
)

// Config configures a Runtime. Only Root is required.
type Config struct {
	// Root is the directory that holds the runtime's state; it is created with mode 0700. One Runtime at a time may
	// have it open. A new Runtime on the same Root adopts the pods that the last one left running.
	Root string

	// Addresses is where pods get their addresses from, one each: a prefix inside 127.0.0.0/8 with at least four
	// addresses. The zero value picks a /20 in 127.128.0.0/9 by a hash of Root. It is used on Linux only; elsewhere all
	// pods share 127.0.0.1.
	Addresses netip.Prefix

	// HostAddress is the address of pods in the host's network. The zero value means 127.0.0.1.
	HostAddress netip.Addr

	// Images resolves image names to commands and environment. Nil means that images are ignored and every container
	// needs a command.
	Images Resolver

	// Environ is what every container's environment starts from, as KEY=value. Nil means PATH, HOME, USER, LANG, TZ and
	// TMPDIR of this process.
	Environ []string

	// InProcess supervises pods in this process even where the program calls Main: they die with it, and mounts at
	// paths of the container's own are not possible.
	InProcess bool

	// NoNamespaces keeps containers out of Linux namespaces even where they can be had.
	NoNamespaces bool

	// StopGrace is how long containers get between SIGTERM and SIGKILL when their sandbox is stopped while they run, or
	// their supervisor is told to end by SIGTERM. Zero means two seconds.
	StopGrace time.Duration

	// Logger is where the runtime reports; nil means nowhere.
	Logger *zap.Logger
}

// Resolver tells what an image would bring. It is asked when an image is pulled and when a container is created.
type Resolver interface {
	Resolve(ctx context.Context, image string) (Image, error)
}

// ResolverFunc is a function as a Resolver.
type ResolverFunc func(ctx context.Context, image string) (Image, error)

// Resolve implements Resolver.
func (f ResolverFunc) Resolve(ctx context.Context, image string) (Image, error) { return f(ctx, image) }

// Image is the part of an image's configuration that matters to a process. A container's command replaces Entrypoint
// and Cmd, its args replace Cmd, its environment adds to Env.
type Image struct {
	Entrypoint []string
	Cmd        []string
	Env        []string
	WorkingDir string

	// MountRoot names an environment variable, and says that the image's programs look for their mounts below the
	// directory that it names. The runtime sets it where a pod can't have a mount namespace: mounts are links below that
	// directory then, so that a mount at /etc/app is at $MountRoot/etc/app. Where mounts are at their own paths it is not
	// set. Empty means that the programs know nothing of it, and a container with such a mount is refused.
	MountRoot string
}
