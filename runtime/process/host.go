package process

import (
	"os"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// launch says what process to start and what it finds around it.
type launch struct {
	Container string // its id, which marks every process of the container
	Args      []string
	Env       []string
	Dir       string
	Files     [3]*os.File
	TTY       bool // Files are a terminal, which becomes the controlling one

	Mounts       []*runtimeapi.Mount
	ReadonlyRoot bool
	Join         *launched // start it where this one runs, instead of making a root for it

	Credential *credential
	NoNewPrivs bool
}

// credential is who the process runs as; nil means who the supervisor runs as.
type credential struct {
	UID, GID uint32
	Groups   []uint32
}

// launched is a process that was started. The fields after done are set before done is closed.
type launched struct {
	id      processID
	pid     int      // as the supervisor sees it
	mountNS string   // names its mount namespace; empty without one
	nsFile  *os.File // holds it

	done chan struct{}
	code int
	cpu  uint64 // nanoseconds, with the descendants it waited for
}

// launchError says that the command could not be executed, in contrast to a fault of ours.
type launchError struct {
	reason string
	err    error
}

func (e *launchError) Error() string { return e.reason + ": " + e.err.Error() }
func (e *launchError) Unwrap() error { return e.err }

// markerEnv is in the environment of each process of a container. It finds those that left their session where there is
// no mount namespace to know them by.
const markerEnv = "KEELSON_CONTAINER"
