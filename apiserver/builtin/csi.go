package builtin

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Bounds of what drivers and attachers may write. Source: k8s.io/api, storage/v1.
const (
	maxDriverName         = 63
	maxDriverNodeID       = 256
	maxAttachmentBytes    = 256 << 10
	maxVolumeErrorMessage = 1024
	minAllocatablePeriod  = 10  // seconds
	minTokenLifetime      = 600 // seconds
)

// driverName checks the name of a CSI driver.
func driverName(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	if len(name) > maxDriverName {
		errs = append(errs, field.TooLong(at, "", maxDriverName))
	}
	for _, msg := range validation.IsDNS1123Subdomain(strings.ToLower(name)) {
		errs = append(errs, field.Invalid(at, name, msg))
	}
	return errs
}

func csiDrivers() behaviour[*storagev1.CSIDriver] {
	return behaviour[*storagev1.CSIDriver]{
		defaults: func(d *storagev1.CSIDriver) {
			s := &d.Spec
			setPtr(&s.AttachRequired, true)
			setPtr(&s.PodInfoOnMount, false)
			setPtr(&s.StorageCapacity, false)
			setPtr(&s.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
			if len(s.VolumeLifecycleModes) == 0 {
				s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
			}
			setPtr(&s.RequiresRepublish, false)
			setPtr(&s.SELinuxMount, false)
			setPtr(&s.PreventPodSchedulingIfMissing, false)
		},
		prepare: func(d, old *storagev1.CSIDriver) {
			if old != nil && !same(d.Spec, old.Spec) { // counted from zero, as upstream
				d.Generation = old.Generation + 1
			}
		},
		validate: validateCSIDriver,
		columns: []kind.Column{
			nameColumn(),
			flag("AttachRequired", "Whether volumes are attached before they are mounted", func(d *storagev1.CSIDriver) any {
				return d.Spec.AttachRequired == nil || *d.Spec.AttachRequired
			}),
			flag("PodInfoOnMount", "Whether the driver is told about the pod", func(d *storagev1.CSIDriver) any { return deref(d.Spec.PodInfoOnMount) }),
			flag("StorageCapacity", "Whether the scheduler considers its capacity", func(d *storagev1.CSIDriver) any { return deref(d.Spec.StorageCapacity) }),
			text("TokenRequests", "Audiences of the tokens that it gets", func(d *storagev1.CSIDriver) string {
				if d.Spec.TokenRequests == nil {
					return unset
				}
				names := make([]string, len(d.Spec.TokenRequests))
				for i, r := range d.Spec.TokenRequests {
					names[i] = r.Audience
				}
				return strings.Join(names, ",")
			}),
			flag("RequiresRepublish", "Whether it is called again while mounted", func(d *storagev1.CSIDriver) any { return deref(d.Spec.RequiresRepublish) }),
			text("Modes", "How long its volumes live", func(d *storagev1.CSIDriver) string {
				names := make([]string, len(d.Spec.VolumeLifecycleModes))
				for i, m := range d.Spec.VolumeLifecycleModes {
					names[i] = string(m)
				}
				return orNone(strings.Join(names, ","))
			}),
			ageColumn(),
		},
	}
}

func validateCSIDriver(d, old *storagev1.CSIDriver) field.ErrorList {
	at, s := field.NewPath("spec"), &d.Spec
	var errs field.ErrorList
	for _, need := range []struct {
		name  string
		value *bool
	}{
		{"attachedRequired", s.AttachRequired}, {"podInfoOnMount", s.PodInfoOnMount}, {"storageCapacity", s.StorageCapacity},
		{"seLinuxMount", s.SELinuxMount}, {"preventPodSchedulingIfMissing", s.PreventPodSchedulingIfMissing},
	} {
		if need.value == nil {
			errs = append(errs, field.Required(at.Child(need.name), ""))
		}
	}
	if s.FSGroupPolicy != nil {
		errs = append(errs, supported(*s.FSGroupPolicy, at.Child("fsGroupPolicy"), storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)...)
	}
	audiences := make(map[string]bool, len(s.TokenRequests))
	for i, r := range s.TokenRequests {
		here := at.Child("tokenRequests").Index(i)
		if audiences[r.Audience] {
			errs = append(errs, field.Duplicate(here.Child("audience"), r.Audience))
			continue
		}
		audiences[r.Audience] = true
		if n := r.ExpirationSeconds; n != nil && *n < minTokenLifetime {
			errs = append(errs, field.Invalid(here.Child("expirationSeconds"), *n, "may not specify a duration less than 10 minutes"))
		} else if n != nil && *n > 1<<32 {
			errs = append(errs, field.Invalid(here.Child("expirationSeconds"), *n, "may not specify a duration larger than 2^32 seconds"))
		}
	}
	for _, m := range s.VolumeLifecycleModes {
		errs = append(errs, supported(m, at.Child("volumeLifecycleModes"), storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral)...)
	}
	if n := s.NodeAllocatableUpdatePeriodSeconds; n != nil && *n < minAllocatablePeriod {
		errs = append(errs, field.Invalid(at.Child("nodeAllocatableUpdatePeriodSeconds"), *n, "must be greater than or equal to 10 seconds"))
	}
	if s.ServiceAccountTokenInSecrets != nil && len(s.TokenRequests) == 0 {
		errs = append(errs, field.Invalid(at.Child("serviceAccountTokenInSecrets"), *s.ServiceAccountTokenInSecrets, "serviceAccountTokenInSecrets is set but no tokenRequests are specified"))
	}
	if old != nil {
		errs = append(errs, immutable(s.AttachRequired, old.Spec.AttachRequired, at.Child("attachedRequired"))...)
		errs = append(errs, immutable(s.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes, at.Child("volumeLifecycleModes"))...)
	}
	return errs
}

func csiNodes() behaviour[*storagev1.CSINode] {
	return behaviour[*storagev1.CSINode]{
		validate:   validateCSINode,
		status:     true,
		generation: kind.GenerationNever,
		columns: []kind.Column{
			nameColumn(),
			number("Drivers", "How many drivers the node has", func(n *storagev1.CSINode, _ time.Time) any { return int64(len(n.Spec.Drivers)) }),
			ageColumn(),
		},
	}
}

func validateCSINode(n, old *storagev1.CSINode) field.ErrorList {
	at := field.NewPath("spec", "drivers")
	var errs field.ErrorList
	names := make(seen[string], len(n.Spec.Drivers))
	for i, d := range n.Spec.Drivers {
		here := at.Index(i)
		errs = append(errs, driverName(d.Name, here.Child("name"))...)
		if d.NodeID == "" {
			errs = append(errs, field.Required(here.Child("nodeID"), d.NodeID))
		}
		if len(d.NodeID) > maxDriverNodeID {
			errs = append(errs, field.Invalid(here.Child("nodeID"), d.NodeID, fmt.Sprintf("must be %d characters or less", maxDriverNodeID)))
		}
		if d.Allocatable != nil {
			errs = append(errs, notNegative(deref(d.Allocatable.Count), here.Child("allocatable", "count"))...)
		}
		errs = append(errs, names.add(d.Name, here.Child("name"))...)
		keys := make(seen[string], len(d.TopologyKeys))
		for _, key := range d.TopologyKeys {
			errs = append(errs, needName(key, here, validation.IsQualifiedName)...)
			errs = append(errs, keys.add(key, here)...)
		}
	}
	if old == nil {
		return errs
	}
	for _, b := range old.Spec.Drivers { // a driver that is there stays as it is, except for how many volumes it takes
		i := slices.IndexFunc(n.Spec.Drivers, func(d storagev1.CSINodeDriver) bool { return d.Name == b.Name })
		if i < 0 {
			continue
		}
		d := n.Spec.Drivers[i]
		d.Allocatable = b.Allocatable
		if !same(d, b) {
			errs = append(errs, field.Invalid(at, n.Spec.Drivers[i], apivalidation.FieldImmutableErrorMsg))
		}
	}
	return errs
}

func csiStorageCapacities() behaviour[*storagev1.CSIStorageCapacity] {
	return behaviour[*storagev1.CSIStorageCapacity]{
		validate: func(c, old *storagev1.CSIStorageCapacity) field.ErrorList {
			var errs field.ErrorList
			if c.NodeTopology != nil {
				errs = append(errs, wellFormed(c.NodeTopology, field.NewPath("nodeTopology"))...)
			}
			errs = append(errs, checkName(c.StorageClassName, field.NewPath("storageClassName"), dnsSubdomain)...)
			if c.Capacity != nil && c.Capacity.Sign() < 0 {
				errs = append(errs, field.Invalid(field.NewPath("capacity"), quantityText(*c.Capacity), apivalidation.IsNegativeErrorMsg))
			}
			if old != nil {
				errs = append(errs, immutable(c.NodeTopology, old.NodeTopology, field.NewPath("nodeTopology"))...)
				errs = append(errs, immutable(c.StorageClassName, old.StorageClassName, field.NewPath("storageClassName"))...)
			}
			return errs
		},
		columns: []kind.Column{
			nameColumn(),
			text("StorageClassName", "Class that the capacity is of", func(c *storagev1.CSIStorageCapacity) string { return c.StorageClassName }),
			text("Capacity", "How much can be provisioned", func(c *storagev1.CSIStorageCapacity) string {
				if c.Capacity == nil {
					return unset
				}
				return quantityText(*c.Capacity)
			}),
		},
	}
}

func volumeAttachments() behaviour[*storagev1.VolumeAttachment] {
	return behaviour[*storagev1.VolumeAttachment]{
		validate:       validateVolumeAttachment,
		validateStatus: func(a, _ *storagev1.VolumeAttachment) field.ErrorList { return validateAttachmentStatus(&a.Status) },
		status:         true,
		generation:     kind.GenerationNever,
		columns: []kind.Column{
			nameColumn(),
			{Name: "Attacher", Type: "string", Format: "name", Description: "Who attaches the volume", Cell: func(obj kind.Instance, _ time.Time) any {
				return obj.(*storagev1.VolumeAttachment).Spec.Attacher
			}},
			text("PV", "The volume", func(a *storagev1.VolumeAttachment) string { return deref(a.Spec.Source.PersistentVolumeName) }),
			text("Node", "Where it is to be attached", func(a *storagev1.VolumeAttachment) string { return a.Spec.NodeName }),
			flag("Attached", "Whether it is", func(a *storagev1.VolumeAttachment) any { return a.Status.Attached }),
			ageColumn(),
		},
	}
}

func validateVolumeAttachment(a, old *storagev1.VolumeAttachment) field.ErrorList {
	at, s := field.NewPath("spec"), &a.Spec
	errs := driverName(s.Attacher, at.Child("attacher"))
	source := at.Child("source")
	switch inline, name := s.Source.InlineVolumeSpec, s.Source.PersistentVolumeName; {
	case inline == nil && name == nil:
		errs = append(errs, field.Required(source, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case inline != nil && name != nil:
		errs = append(errs, field.Forbidden(source, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case name != nil && *name == "":
		errs = append(errs, field.Required(source.Child("persistentVolumeName"), "must specify non empty persistentVolumeName"))
	case name != nil:
		errs = append(errs, checkName(*name, source.Child("persistentVolumeName"), dnsSubdomain)...)
	default:
		errs = append(errs, validateInlineVolume(inline, source.Child("inlineVolumeSpec"))...)
	}
	errs = append(errs, checkName(s.NodeName, at.Child("nodeName"), dnsSubdomain)...)
	errs = append(errs, validateAttachmentStatus(&a.Status)...)
	if old != nil {
		errs = append(errs, immutable(a.Spec, old.Spec, at)...)
	}
	return errs
}

// validateInlineVolume checks a volume that has no object of its own: one of a CSI driver.
func validateInlineVolume(s *corev1.PersistentVolumeSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	const why = "may not be specified in the context of inline volumes"
	for _, no := range []struct {
		name  string
		given bool
	}{{"claimRef", s.ClaimRef != nil}, {"capacity", len(s.Capacity) > 0}, {"nodeAffinity", s.NodeAffinity != nil}, {"storageClassName", s.StorageClassName != ""}} {
		if no.given {
			errs = append(errs, field.Forbidden(at.Child(no.name), why))
		}
	}
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(at.Child("accessModes"), ""))
	}
	errs = append(errs, validateAccessModes(s.AccessModes, at.Child("accessModes"))...)
	if s.CSI == nil {
		return append(errs, field.Required(at.Child("csi"), "has to be specified in the context of inline volumes"))
	}
	return append(errs, validatePersistentCSI(s.CSI, at.Child("csi"))...)
}

func validateAttachmentStatus(s *storagev1.VolumeAttachmentStatus) field.ErrorList {
	at := field.NewPath("status")
	var errs field.ErrorList
	size := 0
	for key, value := range s.AttachmentMetadata {
		size += len(key) + len(value)
	}
	if size > maxAttachmentBytes {
		errs = append(errs, field.TooLong(at.Child("attachmentMetadata"), "", maxAttachmentBytes))
	}
	for name, e := range sorted(map[string]*storagev1.VolumeError{"attachError": s.AttachError, "detachError": s.DetachError}) {
		if e == nil {
			continue
		}
		if len(e.Message) > maxVolumeErrorMessage {
			errs = append(errs, field.TooLong(at.Child(name, "message"), "", maxVolumeErrorMessage))
		}
		if code := deref(e.ErrorCode); code < 0 {
			errs = append(errs, field.Invalid(at.Child(name, "errorCode"), code, validation.InclusiveRangeError(0, math.MaxInt32)))
		}
	}
	return errs
}
