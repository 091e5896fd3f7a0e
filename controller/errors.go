package controller

import (
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

var (
	// ErrClosed is returned by [Queue.Get] after Close.
	ErrClosed = errors.New("queue is closed")

	// ErrLeadershipLost is returned by [Manager.Run] when another process took the lease, or it could not be renewed
	// in time. The controllers have ended by then.
	ErrLeadershipLost = errors.New("leadership lost")

	// ErrAlreadyRun is returned by a second call of Run: what ran once can't run again.
	ErrAlreadyRun = errors.New("already run: make a new one, Run is for one call")

	// ErrRunning is returned for a change that has to come before Run.
	ErrRunning = errors.New("already running: this has to be done before Run")
)

// Terminal marks an error that trying again can't cure, such as a spec that nobody can satisfy. The key is not retried
// until one of its sources reports a change. Terminal(nil) is nil.
func Terminal(err error) error {
	if err == nil {
		return nil
	}
	return &terminalError{err}
}

// IsTerminal reports whether err, or an error it wraps, came from [Terminal].
func IsTerminal(err error) bool {
	var t *terminalError
	return errors.As(err, &t)
}

type terminalError struct{ err error }

func (e *terminalError) Error() string { return e.err.Error() }
func (e *terminalError) Unwrap() error { return e.err }

// refused reports whether the server answered that the request is wrong, so that asking again is in vain.
func refused(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || apierrors.IsTooManyRequests(err) || apierrors.IsTimeout(err) {
		return false
	}
	code := status.Status().Code
	return code >= 400 && code < 500
}
