package builtin

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func persistentVolumeClaims() behaviour[*corev1.PersistentVolumeClaim] {
	return behaviour[*corev1.PersistentVolumeClaim]{
		defaults:       defaultClaim,
		prepare:        func(c, _ *corev1.PersistentVolumeClaim) { mirrorDataSource(&c.Spec) },
		validate:       validateClaim,
		validateStatus: validateClaimStatus,
		status:         true,
		generation:     kind.GenerationNever,
		columns: []kind.Column{
			nameColumn(),
			text("Status", "Whether it is bound to a volume", func(c *corev1.PersistentVolumeClaim) string { return phaseOf(c, string(c.Status.Phase)) }),
			text("Volume", "The volume that it is bound to", func(c *corev1.PersistentVolumeClaim) string { return c.Spec.VolumeName }),
			text("Capacity", "Size of the volume", func(c *corev1.PersistentVolumeClaim) string {
				if c.Spec.VolumeName == "" {
					return ""
				}
				return storageSize(c.Status.Capacity)
			}),
			text("Access Modes", "How it may be mounted", func(c *corev1.PersistentVolumeClaim) string {
				if c.Spec.VolumeName == "" {
					return ""
				}
				return accessModes(c.Status.AccessModes)
			}),
			text("StorageClass", "Class of the volume", func(c *corev1.PersistentVolumeClaim) string { return storageClassOf(c, deref(c.Spec.StorageClassName)) }),
			text("VolumeAttributesClass", "Class of its changeable attributes", func(c *corev1.PersistentVolumeClaim) string {
				return textOr(c.Spec.VolumeAttributesClassName, unset)
			}),
			ageColumn(),
			wide("VolumeMode", "File system or block device", func(c *corev1.PersistentVolumeClaim, _ time.Time) any { return textOr(c.Spec.VolumeMode, unset) }),
		},
	}
}

func defaultClaim(c *corev1.PersistentVolumeClaim) {
	set(&c.Status.Phase, corev1.ClaimPending)
	setPtr(&c.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
}

// mirrorDataSource keeps the two fields that name what a claim is filled from alike. The older one knows only claims and
// snapshots; another value in it alone is dropped, as it always was. Source: KEP 1495.
func mirrorDataSource(s *corev1.PersistentVolumeClaimSpec) {
	const snapshots = "snapshot.storage.k8s.io"
	if d := s.DataSource; d != nil && s.DataSourceRef == nil {
		group := deref(d.APIGroup)
		if !(group == "" && d.Kind == "PersistentVolumeClaim") && !(group == snapshots && d.Kind == "VolumeSnapshot") {
			s.DataSource = nil
		}
	}
	switch {
	case s.DataSourceRef != nil && deref(s.DataSourceRef.Namespace) != "":
	case s.DataSource != nil && s.DataSourceRef == nil:
		d := s.DataSource.DeepCopy()
		s.DataSourceRef = &corev1.TypedObjectReference{APIGroup: d.APIGroup, Kind: d.Kind, Name: d.Name}
	case s.DataSourceRef != nil && s.DataSource == nil:
		d := s.DataSourceRef.DeepCopy()
		s.DataSource = &corev1.TypedLocalObjectReference{APIGroup: d.APIGroup, Kind: d.Kind, Name: d.Name}
	}
}

func validateClaim(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	errs := validateClaimSpec(&c.Spec, field.NewPath("spec"))
	if old != nil {
		errs = append(errs, validateClaimUpdate(c, old)...)
	}
	return errs
}

func validateClaimSpec(s *corev1.PersistentVolumeClaimSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(at.Child("accessModes"), "at least 1 access mode is required"))
	}
	if s.Selector != nil {
		errs = append(errs, wellFormed(s.Selector, at.Child("selector"))...)
	}
	errs = append(errs, validateAccessModes(s.AccessModes, at.Child("accessModes"))...)
	storage := at.Child("resources").Key(string(corev1.ResourceStorage))
	if q, ok := s.Resources.Requests[corev1.ResourceStorage]; !ok {
		errs = append(errs, field.Required(storage, ""))
	} else {
		errs = append(errs, positiveQuantity(q, storage)...)
	}
	errs = append(errs, mayName(deref(s.StorageClassName), at.Child("storageClassName"), dnsSubdomain)...)
	errs = append(errs, validateVolumeMode(s.VolumeMode, at.Child("volumeMode"))...)
	if d := s.DataSource; d != nil {
		errs = append(errs, validateDataSource(d.Name, d.Kind, deref(d.APIGroup), at.Child("dataSource"))...)
	}
	if d := s.DataSourceRef; d != nil {
		here := at.Child("dataSourceRef")
		errs = append(errs, validateDataSource(d.Name, d.Kind, deref(d.APIGroup), here)...)
		errs = append(errs, mayName(deref(d.Namespace), here.Child("namespace"), dnsLabel)...)
	}
	switch d, ref := s.DataSource, s.DataSourceRef; {
	case ref != nil && deref(ref.Namespace) != "" && d != nil:
		errs = append(errs, field.Invalid(at, at.Child("dataSource").String(), "may not be specified when dataSourceRef.namespace is specified"))
	case ref != nil && d != nil && (deref(d.APIGroup) != deref(ref.APIGroup) || d.Kind != ref.Kind || d.Name != ref.Name):
		errs = append(errs, field.Invalid(at, at.Child("dataSource").String(), "must match dataSourceRef"))
	}
	return append(errs, mayName(deref(s.VolumeAttributesClassName), at.Child("volumeAttributesClassName"), dnsSubdomain)...)
}

func validateDataSource(name, source, group string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	if source == "" {
		errs = append(errs, field.Required(at.Child("kind"), ""))
	}
	if group == "" && source != "PersistentVolumeClaim" {
		errs = append(errs, field.Invalid(at, source, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
	}
	return append(errs, mayName(group, at.Child("apiGroup"), dnsSubdomain)...)
}

// validateClaimUpdate puts back, in a copy, what may change; whatever still differs may not.
func validateClaimUpdate(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	var errs field.ErrorList
	now, before := c.Spec.DeepCopy(), old.Spec.DeepCopy()
	mirrorDataSource(before) // it may be of a time when the fields were not kept alike
	if before.VolumeName == "" {
		before.VolumeName = now.VolumeName
	}
	if class, ok := old.Annotations[corev1.BetaStorageClassAnnotation]; before.StorageClassName == nil && now.StorageClassName != nil && (!ok || class == *now.StorageClassName) {
		now.StorageClassName = nil // a class may be given to a claim that has none
	}
	wanted, wants := now.Resources.Requests[corev1.ResourceStorage]
	had := before.Resources.Requests[corev1.ResourceStorage]
	if old.Status.Phase == corev1.ClaimBound {
		if wants {
			now.Resources.Requests[corev1.ResourceStorage] = had
		}
		now.VolumeAttributesClassName = before.VolumeAttributesClassName
	}
	if !same(now, before) {
		errs = append(errs, field.Forbidden(field.NewPath("spec"), "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"))
	}
	if size := old.Status.Capacity[corev1.ResourceStorage]; wanted.Cmp(had) < 0 && wanted.Cmp(size) <= 0 {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "resources", "requests", "storage"), "field can not be less than status.capacity"))
	}
	errs = append(errs, immutable(c.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	at := field.NewPath("spec", "volumeAttributesClassName")
	if old.Status.CurrentVolumeAttributesClassName != nil && deref(c.Spec.VolumeAttributesClassName) != deref(old.Spec.VolumeAttributesClassName) {
		switch class := c.Spec.VolumeAttributesClassName; {
		case class == nil:
			errs = append(errs, field.Forbidden(at, "update to nil is forbidden when status.currentVolumeAttributesClassName is not nil"))
		case *class == "":
			errs = append(errs, field.Forbidden(at, "update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil"))
		}
	}
	return errs
}

func validateClaimStatus(c, _ *corev1.PersistentVolumeClaim) field.ErrorList {
	at := field.NewPath("status")
	var errs field.ErrorList
	for name, q := range c.Status.Capacity {
		if q.Sign() < 0 {
			errs = append(errs, field.Invalid(at.Child("capacity").Key(string(name)), q.Value(), "must be a valid resource quantity"))
		}
	}
	for name, state := range c.Status.AllocatedResourceStatuses {
		switch state {
		case corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible,
			corev1.PersistentVolumeClaimNodeResizePending, corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizeInfeasible:
		default:
			errs = append(errs, field.NotSupported(at.Child("allocatedResourceStatuses"), name, []corev1.ClaimResourceStatus{
				corev1.PersistentVolumeClaimControllerResizeInfeasible, corev1.PersistentVolumeClaimControllerResizeInProgress,
				corev1.PersistentVolumeClaimNodeResizeInfeasible, corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizePending,
			}))
		}
	}
	for name, q := range c.Status.AllocatedResources {
		if q.Sign() < 0 {
			errs = append(errs, field.Invalid(at.Child("allocatedResources").Key(string(name)), q.Value(), "must be a valid resource quantity"))
		}
	}
	return errs
}
