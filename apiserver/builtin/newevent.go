package builtin

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// newEvents is events.k8s.io's version of Events, which are stored as the core group's.
func newEvents() *kind.Kind {
	fields := map[string]func(*eventsv1.Event) string{
		"regarding.kind":            func(e *eventsv1.Event) string { return e.Regarding.Kind },
		"regarding.namespace":       func(e *eventsv1.Event) string { return e.Regarding.Namespace },
		"regarding.name":            func(e *eventsv1.Event) string { return e.Regarding.Name },
		"regarding.uid":             func(e *eventsv1.Event) string { return string(e.Regarding.UID) },
		"regarding.apiVersion":      func(e *eventsv1.Event) string { return e.Regarding.APIVersion },
		"regarding.resourceVersion": func(e *eventsv1.Event) string { return e.Regarding.ResourceVersion },
		"regarding.fieldPath":       func(e *eventsv1.Event) string { return e.Regarding.FieldPath },
		"reason":                    func(e *eventsv1.Event) string { return e.Reason },
		"reportingController":       func(e *eventsv1.Event) string { return e.ReportingController },
		"type":                      func(e *eventsv1.Event) string { return e.Type },
	}
	hub := kind.Conversions(kind.Event, eventFromNew, eventToNew)
	return behaviour[*eventsv1.Event]{validate: validateNewEvent, fields: fields}.of(kind.EventsEvent.Version(hub))
}

func eventFromNew(in *eventsv1.Event) (*corev1.Event, error) {
	in = in.DeepCopy()
	out := &corev1.Event{
		ObjectMeta: in.ObjectMeta, EventTime: in.EventTime, ReportingController: in.ReportingController, ReportingInstance: in.ReportingInstance,
		Action: in.Action, Reason: in.Reason, InvolvedObject: in.Regarding, Related: in.Related, Message: in.Note, Type: in.Type,
		Source: in.DeprecatedSource, FirstTimestamp: in.DeprecatedFirstTimestamp, LastTimestamp: in.DeprecatedLastTimestamp, Count: in.DeprecatedCount,
	}
	if s := in.Series; s != nil {
		out.Series = &corev1.EventSeries{Count: s.Count, LastObservedTime: s.LastObservedTime}
	}
	return out, nil
}

func eventToNew(in *corev1.Event) (*eventsv1.Event, error) {
	in = in.DeepCopy()
	out := &eventsv1.Event{
		ObjectMeta: in.ObjectMeta, EventTime: in.EventTime, ReportingController: in.ReportingController, ReportingInstance: in.ReportingInstance,
		Action: in.Action, Reason: in.Reason, Regarding: in.InvolvedObject, Related: in.Related, Note: in.Message, Type: in.Type,
		DeprecatedSource: in.Source, DeprecatedFirstTimestamp: in.FirstTimestamp, DeprecatedLastTimestamp: in.LastTimestamp, DeprecatedCount: in.Count,
	}
	if s := in.Series; s != nil {
		out.Series = &eventsv1.EventSeries{Count: s.Count, LastObservedTime: s.LastObservedTime}
	}
	return out, nil
}

// validateNewEvent is stricter than the core group's rules: an event of this version says all that it can say, and only the
// count of its repetitions changes. The errors name fields as the stored version does, as upstream.
func validateNewEvent(n, before *eventsv1.Event) field.ErrorList {
	e, _ := eventFromNew(n) // it has no error to answer
	errs := limitEvent(e, "reportingController")
	seriesChanged := before == nil || !same(n.Series, before.Series)
	if s := e.Series; s != nil && seriesChanged {
		if s.Count < 2 {
			errs = append(errs, field.Invalid(field.NewPath("series.count"), "", "should be at least 2"))
		}
		if s.LastObservedTime.IsZero() {
			errs = append(errs, field.Required(field.NewPath("series.lastObservedTime"), ""))
		}
	}
	if before == nil {
		if e.EventTime.IsZero() {
			errs = append(errs, field.Required(field.NewPath("eventTime"), ""))
		}
		if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
			errs = append(errs, field.Invalid(field.NewPath("type"), "", "has invalid value: "+e.Type))
		}
		for name, given := range sorted(map[string]bool{"firstTimestamp": !e.FirstTimestamp.IsZero(), "lastTimestamp": !e.LastTimestamp.IsZero(), "count": e.Count != 0, "source": e.Source != (corev1.EventSource{})}) {
			if given {
				errs = append(errs, field.Invalid(field.NewPath(name), "", "needs to be unset"))
			}
		}
		return errs
	}
	old, _ := eventFromNew(before)
	for _, f := range []struct {
		name     string
		now, was any
	}{
		{"involvedObject", e.InvolvedObject, old.InvolvedObject}, {"reason", e.Reason, old.Reason}, {"message", e.Message, old.Message}, {"source", e.Source, old.Source},
		{"firstTimestamp", e.FirstTimestamp, old.FirstTimestamp}, {"lastTimestamp", e.LastTimestamp, old.LastTimestamp}, {"count", e.Count, old.Count}, {"type", e.Type, old.Type},
		{"eventTime", e.EventTime, old.EventTime}, {"action", e.Action, old.Action}, {"related", e.Related, old.Related},
		{"reportingController", e.ReportingController, old.ReportingController}, {"reportingInstance", e.ReportingInstance, old.ReportingInstance},
	} {
		errs = append(errs, immutable(f.now, f.was, field.NewPath(f.name))...)
	}
	return errs
}
