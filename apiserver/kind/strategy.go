package kind

import (
	"slices"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Strategy is how a server treats objects of a kind. Every function may be nil. Functions are pure: they get
// objects that they alone hold during the call, and must neither keep them nor look anything up.
type Strategy struct {
	// Default fills what the client left out. It runs on writes, and on reads of objects that were stored before
	// a default existed.
	Default func(obj Instance)

	// Prepare makes a new object (old is nil) or a changed one ready to be stored, after defaulting and before
	// validation: clears what clients may not set, carries over what they may not change.
	Prepare func(obj, old Instance)

	// Validate reports what is wrong; old is nil on create. An empty list means valid.
	Validate func(obj, old Instance) field.ErrorList

	// NameRule is the form of metadata.name: what is wrong with a name. Nil means a DNS subdomain.
	NameRule func(name string) []string

	// PrepareStatus is Prepare for writes to the status subresource: it may put right what a status may not say. old is never nil.
	PrepareStatus func(obj, old Instance)

	// ValidateStatus is Validate for writes to the status subresource. Nil means that any status is valid.
	ValidateStatus func(obj, old Instance) field.ErrorList

	// Warnings are sentences for the user about an object that is valid but probably not what they want.
	Warnings func(obj, old Instance) []string

	// Status says that the kind has a status subresource: then creating an object clears its Status, a write to the
	// object leaves Status alone, and a write to /status changes only Status, labels and annotations excepted.
	Status bool

	// Generation says whether metadata.generation counts the changes of everything but metadata and status. The zero value
	// counts for kinds with Status.
	Generation Generation

	// Terminate makes an object ready to be kept when it is deleted for the first time: it may add finalizers and conditions.
	Terminate func(obj Instance)

	// Terminating refuses new objects of a kind that is being removed.
	Terminating bool

	// Deprecation is a sentence that every request in this version is warned with. Empty means none.
	Deprecation string

	// Prune removes from a decoded object of a kind without a Go type what its schema does not know, and answers the paths of
	// that. Nil keeps everything.
	Prune func(obj Instance) []string

	// Scale makes the scale subresource; nil means there is none.
	Scale *Scale

	// CreateOnUpdate lets an update of an object that is not there create it.
	CreateOnUpdate bool

	// NeedsVersion refuses updates that do not say which version they were made from.
	NeedsVersion bool

	// GracePeriod answers how many seconds a deletion waits before the object goes; nil or 0 deletes at once.
	// requested is nil when the client left the choice to the kind.
	GracePeriod func(obj Instance, requested *int64) int64

	// OrphanByDefault keeps dependents when a delete names no propagation policy. False means background.
	OrphanByDefault bool

	// Columns are printed by kubectl get; nil means name and age.
	Columns []Column

	// Fields are the field selectors beside metadata.name and metadata.namespace, such as spec.nodeName.
	Fields map[string]func(Instance) string

	// Claims are names that at most one object in the store may hold, such as a Service's cluster IP. The server keeps
	// them in the transaction that writes the object, and frees them with it.
	Claims func(obj Instance) []string

	// Verbs are those with which clients on the network may use the kind, of create, delete, deletecollection, get, list, patch,
	// update and watch; nil means all of them.
	Verbs []string

	// Parts are further subresources that are read as the object and write a part of it, as status does, by name: approval, resize.
	Parts map[string]Part

	// Subresources names further subresources the server routes for the kind, such as binding, eviction, log, exec.
	Subresources []string
}

// Serves reports whether clients on the network may use the kind with a verb.
func (s *Strategy) Serves(verb string) bool { return s.Verbs == nil || slices.Contains(s.Verbs, verb) }

// Part is what a subresource writes of an object.
type Part struct {
	Take     func(into, from Instance)               // carries the part over from the client's object to a copy of the newest one; required
	Validate func(obj, old Instance) field.ErrorList // what is wrong with the outcome; nil means nothing
}

// Generation is whether a server keeps metadata.generation.
type Generation uint8

// Kinds count their generations by whether they have a status that may observe one, with exceptions.
const (
	GenerationWithStatus Generation = iota // counted where there is a status subresource
	GenerationAlways                       // counted though there is none
	GenerationNever                        // not counted though there is one
)

// CountsGeneration reports whether a server keeps metadata.generation for the kind.
func (s *Strategy) CountsGeneration() bool {
	return s.Generation == GenerationAlways || s.Generation == GenerationWithStatus && s.Status
}

// Column is one column of kubectl's table.
type Column struct {
	Name        string // heading, such as Ready; kubectl upper-cases it
	Type        string // string, integer, number, boolean or date; empty means string
	Format      string // such as name; empty means none
	Description string
	Priority    int32 // 0 is always shown, more only with -o wide
	Cell        func(obj Instance, now time.Time) any
}

// Scale reads and writes the replica count of a kind for its scale subresource.
type Scale struct {
	Get func(Instance) autoscalingv1.Scale // spec and status only; the server fills the metadata
	Set func(obj Instance, replicas int32)
}
