package builtin

import (
	"encoding/json"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func controllerRevisions() behaviour[*appsv1.ControllerRevision] {
	return behaviour[*appsv1.ControllerRevision]{
		validate: validateControllerRevision,
		columns: []kind.Column{
			nameColumn(),
			column("Controller", "Whose state it keeps", func(r *appsv1.ControllerRevision, _ time.Time) any { return controllerOf(r) }),
			column("Revision", "Place in the controller's history", func(r *appsv1.ControllerRevision, _ time.Time) any { return r.Revision }),
			ageColumn(),
		},
	}
}

// controllerOf names an object's controller as kubectl accepts it: statefulset.apps/web.
func controllerOf(obj metav1.Object) string {
	ref := metav1.GetControllerOf(obj)
	if ref == nil {
		return none
	}
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	if gvk.Empty() {
		return ref.Name
	}
	return strings.ToLower(gvk.GroupKind().String()) + "/" + ref.Name
}

func validateControllerRevision(r, old *appsv1.ControllerRevision) field.ErrorList {
	errs := notNegative(r.Revision, field.NewPath("revision"))
	at := field.NewPath("data")
	if old != nil {
		return append(errs, immutable(r.Data, old.Data, at)...)
	}
	var value any
	if r.Data.Raw == nil {
		return append(errs, field.Required(at, "data is mandatory"))
	}
	if err := json.Unmarshal(r.Data.Raw, &value); err != nil {
		return append(errs, field.Invalid(at, "<value omitted>", "error parsing data: "+err.Error()))
	}
	if value == nil {
		return append(errs, field.Required(at, "data is mandatory"))
	}
	if _, ok := value.(map[string]any); !ok {
		errs = append(errs, field.Required(at, "data must be a valid JSON object"))
	}
	return errs
}
