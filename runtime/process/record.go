package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The files of a sandbox, in its directory Root/pods/ID.
const (
	recordFile = "sandbox.json"   // podRecord: written by the agent before anything is started, never changed
	stateFile  = "state.json"     // podState: written by the supervisor; by the agent once the supervisor is gone
	lockFile   = "lock"           // flock held by the supervisor as long as it lives
	socketFile = "s"              // unix socket of the supervisor
	mountsDir  = "mounts"         // links instead of mounts, below a directory for each container
	rootDir    = "root"           // where a container's root is put together; the pod's root without namespaces
	stderrFile = "supervisor.log" // standard error of the supervisor: empty unless it crashed
	resolvFile = "resolv.conf"    // the pod's resolver configuration, where containers can be given one

	recordVersion = 1
)

// podRecord is the agent's intent: a sandbox exists from the moment this is on disk.
type podRecord struct {
	Version     int    `json:"version"`
	ID          string `json:"id"`
	Config      []byte `json:"config"` // PodSandboxConfig, protobuf
	Handler     string `json:"handler,omitempty"`
	CreatedAt   int64  `json:"createdAt"`
	Address     string `json:"address"`
	HostNetwork bool   `json:"hostNetwork,omitempty"`
	GraceMillis int64  `json:"graceMillis"`
}

// processID identifies a process for good: pids are reused, a pid with its start time is not, within one boot.
type processID struct {
	PID   int    `json:"pid"`   // as the agent sees it
	Start uint64 `json:"start"` // in the system's own unit: field 22 of /proc/PID/stat on Linux
	Boot  string `json:"boot,omitempty"`
}

// podState is everything that changes about a sandbox.
type podState struct {
	Version    int              `json:"version"`
	Revision   uint64           `json:"revision"`
	Supervisor processID        `json:"supervisor"`
	Isolation  isolation        `json:"isolation"`
	Stopped    bool             `json:"stopped,omitempty"`
	Containers []containerState `json:"containers,omitempty"`
}

type containerState struct {
	ID         string                    `json:"id"`
	Config     []byte                    `json:"config"` // ContainerConfig, protobuf
	State      runtimeapi.ContainerState `json:"state"`
	CreatedAt  int64                     `json:"createdAt"`
	StartedAt  int64                     `json:"startedAt,omitempty"`
	FinishedAt int64                     `json:"finishedAt,omitempty"`
	ExitCode   int32                     `json:"exitCode,omitempty"`
	Reason     string                    `json:"reason,omitempty"`
	Message    string                    `json:"message,omitempty"`
	Process    processID                 `json:"process"`
	CPU        uint64                    `json:"cpu,omitempty"` // nanoseconds, of the ended process and what it waited for
}

func (s *podState) clone() *podState {
	c := *s
	c.Containers = slices.Clone(s.Containers)
	return &c
}

func (s *podState) container(id string) *containerState {
	for i := range s.Containers {
		if s.Containers[i].ID == id {
			return &s.Containers[i]
		}
	}
	return nil
}

// isolation is what keeps a pod's processes apart from the rest.
type isolation struct {
	User  bool `json:"user,omitempty"`  // a user namespace of its own, needed for the others by ordinary users
	Mount bool `json:"mount,omitempty"` // a mount namespace per container
	PID   bool `json:"pid,omitempty"`   // a pid namespace of the pod's own: killing the supervisor kills all of it
}

func (i isolation) String() string {
	switch {
	case i == isolation{}:
		return "none"
	case i.User && i.PID:
		return "user, mount and pid namespaces"
	case i.User:
		return "user and mount namespaces"
	case i.PID:
		return "mount and pid namespaces"
	default:
		return "mount namespace"
	}
}

// writeFile replaces the file in one step: whoever reads it, or the machine's end, finds the old or the new content.
func writeFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func writeRecord(path string, v any) error {
	content, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFile(path, content)
}

func readRecord(dir string) (*podRecord, error) {
	content, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return nil, err
	}
	var record podRecord
	if err := json.Unmarshal(content, &record); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, recordFile), err)
	}
	if record.Version != recordVersion {
		return nil, fmt.Errorf("%s has version %d, this program knows %d", filepath.Join(dir, recordFile), record.Version, recordVersion)
	}
	return &record, nil
}

// readState returns an empty state when there is none: the supervisor ended before it wrote one.
func readState(dir string) (*podState, error) {
	content, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return &podState{Version: recordVersion}, nil
	} else if err != nil {
		return nil, err
	}
	var state podState
	if err := json.Unmarshal(content, &state); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, stateFile), err)
	}
	return &state, nil
}
