package builtin

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

const (
	none    = "<none>"
	unknown = "<unknown>"
	unset   = "<unset>"
)

type containers = []corev1.Container

func nameColumn() kind.Column {
	return kind.Column{Name: "Name", Type: "string", Format: "name", Description: "Name of the object",
		Cell: func(obj kind.Instance, _ time.Time) any { return obj.GetName() }}
}

func ageColumn() kind.Column {
	return kind.Column{Name: "Age", Type: "string", Description: "Time since the object was created",
		Cell: func(obj kind.Instance, now time.Time) any { return age(obj.GetCreationTimestamp(), now) }}
}

// createdColumn shows when an object was created, for kinds where the day matters.
func createdColumn() kind.Column {
	return kind.Column{Name: "Created At", Type: "date", Description: "When the object was created",
		Cell: func(obj kind.Instance, _ time.Time) any {
			return obj.GetCreationTimestamp().UTC().Format(time.RFC3339)
		}}
}

// templateColumns are those that -o wide shows for kinds that make pods.
func templateColumns[T kind.Instance](get func(T) (*metav1.LabelSelector, containers)) []kind.Column {
	return []kind.Column{
		wide("Containers", "Names of the containers", func(obj T, _ time.Time) any {
			_, list := get(obj)
			return joinContainers(list, func(c corev1.Container) string { return c.Name })
		}),
		wide("Images", "Images of the containers", func(obj T, _ time.Time) any {
			_, list := get(obj)
			return joinContainers(list, func(c corev1.Container) string { return c.Image })
		}),
		wide("Selector", "Which pods belong to it", func(obj T, _ time.Time) any {
			selector, _ := get(obj)
			return metav1.FormatLabelSelector(selector)
		}),
	}
}

func joinContainers(list containers, get func(corev1.Container) string) string {
	parts := make([]string, len(list))
	for i, c := range list {
		parts[i] = get(c)
	}
	return strings.Join(parts, ",")
}

// age says how long ago something was, in the shortest units that tell enough: 5s, 3m20s, 4h, 12d.
func age(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return unknown
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

func ratio(part, whole int32) string { return fmt.Sprintf("%d/%d", part, whole) }

func integer(n int64) string { return strconv.FormatInt(n, 10) }

// textOr shows an optional text, or what stands for none.
func textOr[S ~string](s *S, otherwise string) string {
	if s == nil {
		return otherwise
	}
	return string(*s)
}

// quantityText is a quantity as text. It works on a copy: a Quantity notes its text in itself, and cells are of shared objects.
func quantityText(q resource.Quantity) string { return q.String() }

// boolText is how columns show a truth that may be left out.
func boolText(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

func boolean(b bool) string { return strconv.FormatBool(b) }

// orNone shows an empty text so that columns stay readable.
func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}

// selectorText is a selector in the form of query parameters; one that is missing or broken is empty.
func selectorText(s *metav1.LabelSelector) string {
	parsed, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return ""
	}
	return parsed.String()
}

// shortList shows the first few of a list and how many follow.
func shortList(items []string, most int) string {
	if len(items) <= most {
		return orNone(strings.Join(items, ","))
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(items[:most], ","), len(items)-most)
}
