package kind

import (
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Instance is one object of some kind: any pointer to a struct that embeds metav1.TypeMeta and metav1.ObjectMeta.
type Instance interface {
	metav1.Object
	GetObjectKind() schema.ObjectKind
}

// Kind says everything that is known about one kind. The zero values of optional fields mean what their comments
// say; [Kind.Complete] fills the derivable names and reports what is missing.
type Kind struct {
	Group    string // API group; empty for the core group
	Version  string // API version, such as v1
	Name     string // the kind as manifests write it, such as Pod
	ListName string // empty means Name + "List"
	Plural   string // resource name in paths; empty means the lower-case English plural of Name
	Singular string // empty means the lower-case Name

	ShortNames []string // what kubectl accepts beside the names, such as po
	Categories []string // groups of kinds that kubectl can list at once, such as all
	Namespaced bool     // false means that objects belong to the whole cluster

	New  func() Instance         // an empty object with its TypeMeta set; required
	Copy func(Instance) Instance // a deep copy; nil means by DeepCopyObject or, without one, by reflection

	// Hub makes this a further version of a kind that is stored in another one. Nil means that this version is the stored one.
	Hub *Hub

	// Schema gives the OpenAPI v3 schema of the objects, in JSON, for kinds without a Go type. Nil means that the Go type says it, or
	// that nobody knows.
	Schema func() []byte

	Strategy // how a server treats the kind; the zero Strategy accepts and stores whatever is well-formed
}

// GroupVersionKind is the identity that manifests carry.
func (k *Kind) GroupVersionKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Name}
}

// GroupVersionResource is the identity that URLs carry.
func (k *Kind) GroupVersionResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: k.Group, Version: k.Version, Resource: k.Plural}
}

// GroupResource is the identity that error messages carry.
func (k *Kind) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.Group, Resource: k.Plural}
}

// APIVersion is the apiVersion of a manifest: "v1" or "apps/v1".
func (k *Kind) APIVersion() string {
	return schema.GroupVersion{Group: k.Group, Version: k.Version}.String()
}

// String is the kind's name in logs and errors: "pods", "deployments.apps".
func (k *Kind) String() string { return k.GroupResource().String() }

// Is reports whether both describe the same group and resource, whatever behaviour each carries.
func (k *Kind) Is(other *Kind) bool {
	return k == other || other != nil && k.Group == other.Group && k.Plural == other.Plural
}

// With returns a copy of the kind whose behaviour is s. The receiver stays as it is.
func (k *Kind) With(s Strategy) *Kind {
	c := *k
	c.Strategy = s
	return &c
}

// Complete fills the names that follow from others and checks the rest. It is called by NewSet, Define and
// Describe; the error names the field that is wrong.
func (k *Kind) Complete() error {
	var problems []error
	bad := func(field, format string, args ...any) {
		problems = append(problems, fmt.Errorf("kind %q: %s: %s", k.Name, field, fmt.Sprintf(format, args...)))
	}
	if k.Name == "" {
		bad("Name", "required, such as GameServer")
	}
	lower := strings.ToLower(k.Name)
	if k.ListName == "" {
		k.ListName = k.Name + "List"
	}
	if k.Singular == "" {
		k.Singular = lower
	}
	if k.Plural == "" {
		k.Plural = plural(lower)
	}
	for _, n := range append([]string{k.Plural, k.Singular}, k.ShortNames...) {
		if msgs := validation.IsDNS1035Label(n); n != "" && len(msgs) > 0 {
			bad("names", "%q is no resource name: %s", n, msgs[0])
		}
	}
	if msgs := validation.IsDNS1123Subdomain(k.Group); k.Group != "" && len(msgs) > 0 {
		bad("Group", "%q: %s", k.Group, msgs[0])
	}
	if msgs := validation.IsDNS1035Label(k.Version); len(msgs) > 0 {
		bad("Version", "%q: want a version such as v1 or v1alpha1: %s", k.Version, msgs[0])
	}
	if h := k.Hub; h != nil && (h.Kind == nil || h.To == nil || h.From == nil) {
		bad("Hub", "needs the stored kind and a conversion each way")
	}
	if k.New == nil {
		bad("New", "required: a function that returns an empty object")
		return errors.Join(problems...)
	}
	if k.Copy == nil {
		k.Copy = copierFor(k.New())
	}
	return errors.Join(problems...)
}

// Stamp sets the object's apiVersion and kind to this kind's. An object that has them is not written to, so that
// shared ones can be encoded by several readers at once.
func (k *Kind) Stamp(obj Instance) {
	if t := obj.GetObjectKind(); t.GroupVersionKind() != k.GroupVersionKind() {
		t.SetGroupVersionKind(k.GroupVersionKind())
	}
}

func plural(s string) string {
	switch {
	case s == "":
		return ""
	case strings.HasSuffix(s, "s"), strings.HasSuffix(s, "x"), strings.HasSuffix(s, "ch"), strings.HasSuffix(s, "sh"):
		return s + "es"
	case strings.HasSuffix(s, "y") && len(s) > 1 && !strings.ContainsRune("aeiou", rune(s[len(s)-2])):
		return s[:len(s)-1] + "ies"
	}
	return s + "s"
}
