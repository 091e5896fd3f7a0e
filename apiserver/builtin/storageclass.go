package builtin

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// How much a class may tell its driver. Source: k8s.io/api, storage/v1.
const (
	maxParameters     = 512
	maxParameterBytes = 256 << 10
)

func storageClasses() behaviour[*storagev1.StorageClass] {
	return behaviour[*storagev1.StorageClass]{
		defaults: func(c *storagev1.StorageClass) {
			setPtr(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
			setPtr(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
		},
		validate: validateStorageClass,
		columns: []kind.Column{
			{Name: "Name", Type: "string", Format: "name", Description: "Name of the object", Cell: storageClassName},
			text("Provisioner", "Who makes volumes of the class", func(c *storagev1.StorageClass) string { return c.Provisioner }),
			text("ReclaimPolicy", "What happens to a volume when its claim is gone", func(c *storagev1.StorageClass) string {
				return textOr(c.ReclaimPolicy, string(corev1.PersistentVolumeReclaimDelete))
			}),
			text("VolumeBindingMode", "When a volume is made for a claim", func(c *storagev1.StorageClass) string {
				return textOr(c.VolumeBindingMode, string(storagev1.VolumeBindingImmediate))
			}),
			column("AllowVolumeExpansion", "Whether claims may grow", func(c *storagev1.StorageClass, _ time.Time) any { return deref(c.AllowVolumeExpansion) }),
			ageColumn(),
		},
	}
}

// storageClassName marks the class that claims without one get.
func storageClassName(obj kind.Instance, _ time.Time) any {
	a := obj.GetAnnotations()
	if a["storageclass.kubernetes.io/is-default-class"] == "true" || a["storageclass.beta.kubernetes.io/is-default-class"] == "true" {
		return obj.GetName() + " (default)"
	}
	return obj.GetName()
}

func validateStorageClass(c, old *storagev1.StorageClass) field.ErrorList {
	if old != nil {
		errs := immutable(c.Parameters, old.Parameters, field.NewPath("parameters"))
		errs = append(errs, immutable(c.Provisioner, old.Provisioner, field.NewPath("provisioner"))...)
		errs = append(errs, immutable(c.ReclaimPolicy, old.ReclaimPolicy, field.NewPath("reclaimPolicy"))...)
		return append(errs, immutable(c.VolumeBindingMode, old.VolumeBindingMode, field.NewPath("volumeBindingMode"))...)
	}
	errs := needName(strings.ToLower(c.Provisioner), field.NewPath("provisioner"), validation.IsQualifiedName)
	errs = append(errs, validateParameters(c.Parameters, field.NewPath("parameters"))...)
	if p := deref(c.ReclaimPolicy); p != "" {
		errs = append(errs, supported(p, field.NewPath("reclaimPolicy"), corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)...)
	}
	if c.VolumeBindingMode == nil {
		errs = append(errs, field.Required(field.NewPath("volumeBindingMode"), ""))
	} else {
		errs = append(errs, supported(*c.VolumeBindingMode, field.NewPath("volumeBindingMode"), storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)...)
	}
	for i, term := range c.AllowedTopologies {
		errs = append(errs, validateTopology(term, field.NewPath("allowedTopologies").Index(i))...)
		for j := range i {
			if same(term, c.AllowedTopologies[j]) {
				errs = append(errs, field.Duplicate(field.NewPath("allowedTopologies").Index(i).Child("matchLabelExpressions"), ""))
			}
		}
	}
	return errs
}

func validateTopology(term corev1.TopologySelectorTerm, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	keys := make(seen[string], len(term.MatchLabelExpressions))
	for i, r := range term.MatchLabelExpressions {
		here := at.Child("matchLabelExpressions").Index(i)
		if len(r.Values) == 0 {
			errs = append(errs, field.Required(here.Child("values"), ""))
		}
		values := make(seen[string], len(r.Values))
		for j, v := range r.Values {
			errs = append(errs, values.add(v, here.Child("values").Index(j))...)
		}
		errs = append(errs, checkName(r.Key, here.Child("key"), validation.IsQualifiedName)...)
		errs = append(errs, keys.add(r.Key, here.Child("key"))...)
	}
	return errs
}

func validateParameters(p map[string]string, at *field.Path) field.ErrorList {
	if len(p) > maxParameters {
		return field.ErrorList{field.TooLong(at, "", maxParameters)}
	}
	var errs field.ErrorList
	size := 0
	for key, value := range p {
		if key == "" {
			errs = append(errs, field.Invalid(at, key, "field can not be empty."))
		}
		size += len(key) + len(value)
	}
	if size > maxParameterBytes {
		errs = append(errs, field.TooLong(at, "", maxParameterBytes))
	}
	return errs
}

func volumeAttributesClasses() behaviour[*storagev1.VolumeAttributesClass] {
	return behaviour[*storagev1.VolumeAttributesClass]{
		validate: func(c, old *storagev1.VolumeAttributesClass) field.ErrorList {
			parameters := field.NewPath("parameters")
			errs := needName(strings.ToLower(c.DriverName), field.NewPath("driverName"), validation.IsQualifiedName)
			errs = append(errs, validateParameters(c.Parameters, parameters)...)
			if len(c.Parameters) == 0 {
				errs = append(errs, field.Required(parameters, "must contain at least one key/value pair"))
			}
			if old != nil && c.DriverName != old.DriverName {
				errs = append(errs, field.Forbidden(field.NewPath("driverName"), "updates to driverName are forbidden."))
			}
			if old != nil && !same(c.Parameters, old.Parameters) {
				errs = append(errs, field.Forbidden(parameters, "updates to parameters are forbidden."))
			}
			return errs
		},
		columns: []kind.Column{
			nameColumn(),
			text("DriverName", "Who applies the attributes", func(c *storagev1.VolumeAttributesClass) string { return c.DriverName }),
			ageColumn(),
		},
	}
}
