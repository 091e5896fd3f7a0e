package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/store"
)

var (
	// errStopped ends watches when the server stops; they report io.EOF.
	errStopped = errors.New("apiserver stopped")
	// errRetired ends watches of a kind that was removed or replaced, as stopping does, and makes requests start over.
	errRetired = errors.New("the kind has changed")
	// errMisplaced is why an object whose name is not its key's is skipped.
	errMisplaced = errors.New("the object's namespace and name do not fit its key")
)

func status(code int32, reason metav1.StatusReason, format string, args ...any) *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: reason, Message: fmt.Sprintf(format, args...),
	}}
}

func badRequest(format string, args ...any) error {
	return apierrors.NewBadRequest(fmt.Sprintf(format, args...))
}

func unavailable(why string) error { return apierrors.NewServiceUnavailable(why) }

func notFound(k *kind.Kind, name string) error { return apierrors.NewNotFound(k.GroupResource(), name) }

func conflict(k *kind.Kind, name, format string, args ...any) error {
	return apierrors.NewConflict(k.GroupResource(), name, fmt.Errorf(format, args...))
}

// A client learns nothing from the thousandth mistake, and joining the texts of n costs n*n.
const (
	maxErrors = 64
	maxQuoted = 256  // bytes of a bad value, or of a path with keys in it
	maxDetail = 1024 // bytes of what is wrong with it: rules with their pattern and examples are long
)

func invalid(k *kind.Kind, name string, errs field.ErrorList) error {
	told := make(field.ErrorList, 0, min(len(errs), maxErrors))
	for _, e := range errs[:min(len(errs), maxErrors)] {
		short := *e
		short.Field, short.Detail = quote(e.Field), shortened(e.Detail, maxDetail)
		if text, ok := e.BadValue.(string); ok {
			short.BadValue = quote(text)
		}
		told = append(told, &short)
	}
	err := apierrors.NewInvalid(k.GroupVersionKind().GroupKind(), quote(name), told)
	if more := len(errs) - len(told); more > 0 {
		err.ErrStatus.Message += fmt.Sprintf(" (and %d more mistakes)", more)
	}
	return err
}

// quote cuts what a message quotes to what somebody reads.
func quote(text string) string { return shortened(text, maxQuoted) }

func shortened(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "..."
}

func tooLarge(size int) error {
	return status(http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge,
		"the object is %d bytes in its stored form, at most %d are accepted", size, maxObjectBytes)
}

// expired is the 410 that makes a client list again.
func expired(format string, args ...any) error {
	return apierrors.NewResourceExpired(fmt.Sprintf(format, args...))
}

// tooNew is the 504 for a resourceVersion that has not happened.
func tooNew(asked, current int64) error {
	e := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", asked, current), 1)
	e.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return e
}

// storeError is what a client hears of the store's errors. A context's error stays what it is.
func storeError(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, store.ErrCompacted):
		return expired("the requested version is too old: %v", err)
	case errors.Is(err, store.ErrTooLarge):
		return status(http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge, "%v", err)
	case errors.Is(err, store.ErrUnknownOutcome):
		return apierrors.NewTimeoutError(fmt.Sprintf("the write may or may not have happened: %v", err), 1)
	case errors.Is(err, store.ErrNotLeader), errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrFailed):
		return unavailable(err.Error())
	case errors.Is(err, store.ErrQuota):
		return status(http.StatusInsufficientStorage, metav1.StatusReasonInternalError, "%v", err)
	}
	return apierrors.NewInternalError(err)
}
