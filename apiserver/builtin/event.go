package builtin

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func events() behaviour[*corev1.Event] {
	return behaviour[*corev1.Event]{
		defaults: func(e *corev1.Event) { set(&e.Type, corev1.EventTypeNormal) },
		validate: validateEvent,
		fields: map[string]func(*corev1.Event) string{
			"involvedObject.kind":            func(e *corev1.Event) string { return e.InvolvedObject.Kind },
			"involvedObject.namespace":       func(e *corev1.Event) string { return e.InvolvedObject.Namespace },
			"involvedObject.name":            func(e *corev1.Event) string { return e.InvolvedObject.Name },
			"involvedObject.uid":             func(e *corev1.Event) string { return string(e.InvolvedObject.UID) },
			"involvedObject.apiVersion":      func(e *corev1.Event) string { return e.InvolvedObject.APIVersion },
			"involvedObject.resourceVersion": func(e *corev1.Event) string { return e.InvolvedObject.ResourceVersion },
			"involvedObject.fieldPath":       func(e *corev1.Event) string { return e.InvolvedObject.FieldPath },
			"reason":                         func(e *corev1.Event) string { return e.Reason },
			"reportingComponent":             func(e *corev1.Event) string { return e.ReportingController },
			"source":                         eventSource,
			"type":                           func(e *corev1.Event) string { return e.Type },
		},
		columns: []kind.Column{
			column("Last Seen", "Time since it happened last", func(e *corev1.Event, now time.Time) any { return eventLastSeen(e, now) }),
			column("Type", "Normal or Warning", func(e *corev1.Event, _ time.Time) any { return e.Type }),
			column("Reason", "What happened, in a word", func(e *corev1.Event, _ time.Time) any { return e.Reason }),
			column("Object", "What it happened to", func(e *corev1.Event, _ time.Time) any {
				return strings.ToLower(e.InvolvedObject.Kind) + "/" + e.InvolvedObject.Name
			}),
			wide("Subobject", "Which part of the object", func(e *corev1.Event, _ time.Time) any { return e.InvolvedObject.FieldPath }),
			wide("Source", "Who reports it", func(e *corev1.Event, _ time.Time) any {
				from := []string{eventSource(e)}
				if e.Source.Host != "" {
					from = append(from, e.Source.Host)
				}
				return strings.Join(from, ", ")
			}),
			column("Message", "What happened, in a sentence", func(e *corev1.Event, _ time.Time) any { return strings.TrimSpace(e.Message) }),
			wide("First Seen", "Time since it happened first", func(e *corev1.Event, now time.Time) any { return eventFirstSeen(e, now) }),
			wide("Count", "How often it happened", func(e *corev1.Event, _ time.Time) any { return eventCount(e) }),
			{Name: "Name", Type: "string", Format: "name", Priority: 1, Description: "Name of the event",
				Cell: func(obj kind.Instance, _ time.Time) any { return obj.GetName() }},
		},
	}
}

func eventSource(e *corev1.Event) string {
	if e.Source.Component != "" {
		return e.Source.Component
	}
	return e.ReportingController
}

func eventCount(e *corev1.Event) int64 {
	if e.Series != nil {
		return int64(e.Series.Count)
	}
	return int64(max(e.Count, 1))
}

func eventFirstSeen(e *corev1.Event, now time.Time) string {
	if !e.FirstTimestamp.IsZero() {
		return age(e.FirstTimestamp, now)
	}
	return age(metav1.NewTime(e.EventTime.Time), now)
}

// eventLastSeen takes the newest of the times that old and new reporters keep; a repeated event also says since when.
func eventLastSeen(e *corev1.Event, now time.Time) string {
	last := eventFirstSeen(e, now)
	if !e.LastTimestamp.IsZero() {
		last = age(e.LastTimestamp, now)
	}
	if e.Series != nil {
		last = duration.HumanDuration(now.Sub(e.Series.LastObservedTime.Time))
	}
	return last
}

func validateEvent(e, _ *corev1.Event) field.ErrorList { return limitEvent(e, "reportingComponent") }

// Bounds of what an event says, in characters. Source: k8s.io/api, events/v1.
const (
	maxEventWord = 128 // reason, action, reporting instance
	maxEventNote = 1024
)

// limitEvent checks what both versions of events have in common. controller is what the reporting controller is called there.
func limitEvent(e *corev1.Event, controller string) field.ErrorList {
	var errs field.ErrorList
	ns, at := e.InvolvedObject.Namespace, field.NewPath("involvedObject", "namespace")
	const mismatch = "does not match event.namespace"
	if e.EventTime.IsZero() { // an event of the older form: nothing more is promised of it
		cluster := ns == "" && (e.Namespace == "" || e.Namespace == metav1.NamespaceDefault)
		if !cluster && ns != e.Namespace {
			errs = append(errs, field.Invalid(at, ns, mismatch))
		}
		return errs
	}
	if ns == "" && e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem {
		errs = append(errs, field.Invalid(at, ns, mismatch))
	}
	if e.ReportingController == "" {
		errs = append(errs, field.Required(field.NewPath(controller), ""))
	}
	errs = append(errs, checkName(e.ReportingController, field.NewPath(controller), validation.IsQualifiedName)...)
	for _, word := range []struct {
		name, text string
		limit      int
		required   bool
	}{{"reportingInstance", e.ReportingInstance, maxEventWord, true}, {"action", e.Action, maxEventWord, true}, {"reason", e.Reason, maxEventWord, true}, {"message", e.Message, maxEventNote, false}} {
		if word.required && word.text == "" {
			errs = append(errs, field.Required(field.NewPath(word.name), ""))
		}
		if len(word.text) > word.limit {
			errs = append(errs, field.Invalid(field.NewPath(word.name), "", fmt.Sprintf("can have at most %d characters", word.limit)))
		}
	}
	return errs
}
