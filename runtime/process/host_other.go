//go:build !linux && !darwin

package process

import (
	"errors"
	"os"
	"syscall"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const supported = false

// Main does nothing on this system, where New returns an error.
func Main() {}

type host struct{ isolation isolation }

func mainCalled() bool { return false }

func isolations() []isolation { return []isolation{{}} }

func newHost(string, isolation, bool, string) (*host, error) { return nil, errors.ErrUnsupported }

func (h *host) start(*launch) (*launched, error)        { return nil, errors.ErrUnsupported }
func (h *host) identify(int) processID                  { return processID{} }
func (h *host) signal(*launched, syscall.Signal)        {}
func (h *host) killAll(string, *launched, bool)         {}
func (h *host) usage(string, *launched) usage           { return usage{} }
func openTerminal() (master, slave *os.File, err error) { return nil, nil, errors.ErrUnsupported }
func resizeTerminal(*os.File, uint16, uint16) error     { return errors.ErrUnsupported }
func socketPath(string) (string, func(), error)         { return "", nil, errors.ErrUnsupported }
func lockDir(string) (*os.File, bool, error)            { return nil, false, errors.ErrUnsupported }
func collectEnded(processID)                            {}
func alive(processID) bool                              { return false }
func killLeftover(processID)                            {}

func spawn(string, string, isolation, *os.File) error { return errors.ErrUnsupported }

func stopSignal(runtimeapi.Signal) syscall.Signal { return syscall.SIGTERM }
