package builtin

import (
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func persistentVolumes() behaviour[*corev1.PersistentVolume] {
	return behaviour[*corev1.PersistentVolume]{
		defaults: func(v *corev1.PersistentVolume) {
			set(&v.Status.Phase, corev1.VolumePending)
			set(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
			setPtr(&v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
		},
		prepare: func(v, old *corev1.PersistentVolume) {
			if old == nil {
				at := metav1.Now().Rfc3339Copy()
				v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending, LastPhaseTransitionTime: &at}
			}
		},
		prepareStatus: preparePersistentVolumeStatus,
		validate:      validatePersistentVolume,
		status:        true,
		generation:    kind.GenerationNever,
		columns: []kind.Column{
			nameColumn(),
			text("Capacity", "Size of the volume", func(v *corev1.PersistentVolume) string { return storageSize(v.Spec.Capacity) }),
			text("Access Modes", "How it may be mounted", func(v *corev1.PersistentVolume) string { return accessModes(v.Spec.AccessModes) }),
			text("Reclaim Policy", "What happens to it when its claim is gone", func(v *corev1.PersistentVolume) string {
				return string(v.Spec.PersistentVolumeReclaimPolicy)
			}),
			text("Status", "Whether it is bound to a claim", func(v *corev1.PersistentVolume) string {
				return phaseOf(v, string(v.Status.Phase))
			}),
			text("Claim", "The claim that it is bound to", func(v *corev1.PersistentVolume) string {
				if v.Spec.ClaimRef == nil {
					return ""
				}
				return v.Spec.ClaimRef.Namespace + "/" + v.Spec.ClaimRef.Name
			}),
			text("StorageClass", "Class of the volume", func(v *corev1.PersistentVolume) string { return storageClassOf(v, v.Spec.StorageClassName) }),
			text("VolumeAttributesClass", "Class of its changeable attributes", func(v *corev1.PersistentVolume) string {
				return textOr(v.Spec.VolumeAttributesClassName, unset)
			}),
			text("Reason", "Why it is in its state", func(v *corev1.PersistentVolume) string { return v.Status.Reason }),
			ageColumn(),
			wide("VolumeMode", "File system or block device", func(v *corev1.PersistentVolume, _ time.Time) any { return textOr(v.Spec.VolumeMode, unset) }),
		},
	}
}

// preparePersistentVolumeStatus notes when the phase changed, unless the writer says when.
func preparePersistentVolumeStatus(v, old *corev1.PersistentVolume) {
	now, before := &v.Status, &old.Status
	switch {
	case now.Phase == before.Phase && now.LastPhaseTransitionTime == nil:
		now.LastPhaseTransitionTime = before.LastPhaseTransitionTime.DeepCopy()
	case now.Phase != before.Phase && (now.LastPhaseTransitionTime == nil || now.LastPhaseTransitionTime.Equal(before.LastPhaseTransitionTime)):
		at := metav1.Now().Rfc3339Copy()
		now.LastPhaseTransitionTime = &at
	}
}

func validatePersistentVolume(v, old *corev1.PersistentVolume) field.ErrorList {
	at, s := field.NewPath("spec"), &v.Spec
	var errs field.ErrorList
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(at.Child("accessModes"), ""))
	}
	errs = append(errs, validateAccessModes(s.AccessModes, at.Child("accessModes"))...)
	capacity := at.Child("capacity")
	if len(s.Capacity) == 0 {
		errs = append(errs, field.Required(capacity, ""))
	}
	if _, ok := s.Capacity[corev1.ResourceStorage]; !ok || len(s.Capacity) > 1 {
		errs = append(errs, field.NotSupported(capacity, s.Capacity, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for name, q := range s.Capacity {
		errs = append(errs, positiveQuantity(q, capacity.Key(string(name)))...)
	}
	errs = append(errs, supported(s.PersistentVolumeReclaimPolicy, at.Child("persistentVolumeReclaimPolicy"),
		corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)...)
	if n := s.NodeAffinity; n != nil {
		if n.Required == nil {
			errs = append(errs, field.Required(at.Child("nodeAffinity", "required"), "must specify required node constraints"))
		} else {
			errs = append(errs, validateNodeSelector(n.Required, at.Child("nodeAffinity", "required"))...)
		}
	}
	errs = append(errs, validatePersistentSource(v, at)...)
	if h := s.HostPath; h != nil && path.Clean(h.Path) == "/" && s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		errs = append(errs, field.Forbidden(at.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'"))
	}
	errs = append(errs, mayName(s.StorageClassName, at.Child("storageClassName"), dnsSubdomain)...)
	errs = append(errs, validateVolumeMode(s.VolumeMode, at.Child("volumeMode"))...)
	if class := s.VolumeAttributesClassName; class != nil {
		if *class == "" {
			errs = append(errs, field.Required(at.Child("volumeAttributesClassName"), "an empty string is disallowed"))
		}
		errs = append(errs, mayName(*class, at.Child("volumeAttributesClassName"), dnsSubdomain)...)
		if s.CSI == nil {
			errs = append(errs, field.Required(at.Child("csi"), "has to be specified when using volumeAttributesClassName"))
		}
	}
	if old != nil {
		errs = append(errs, validatePersistentVolumeUpdate(v, old)...)
	}
	return errs
}

func validatePersistentVolumeUpdate(v, old *corev1.PersistentVolume) field.ErrorList {
	var errs field.ErrorList
	now := v.Spec.PersistentVolumeSource
	if b := old.Spec.CSI; b != nil && b.ControllerExpandSecretRef == nil && now.CSI != nil && now.CSI.ControllerExpandSecretRef != nil {
		now = *now.DeepCopy() // which may be added to a volume that was made without
		now.CSI.ControllerExpandSecretRef = nil
	}
	if !same(now, old.Spec.PersistentVolumeSource) {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "persistentvolumesource"), "spec.persistentvolumesource is immutable after creation"))
	}
	errs = append(errs, immutable(v.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	if old.Spec.NodeAffinity != nil && !same(v.Spec.NodeAffinity, old.Spec.NodeAffinity) {
		errs = append(errs, field.Invalid(field.NewPath("nodeAffinity"), v.Spec.NodeAffinity, apivalidation.FieldImmutableErrorMsg+", except for updating from beta label to GA"))
	}
	if old.Spec.VolumeAttributesClassName != nil && v.Spec.VolumeAttributesClassName == nil {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "volumeAttributesClassName"), "update from non-nil value to nil is forbidden"))
	}
	return errs
}

// validatePersistentSource wants exactly one kind of volume, and that one complete.
func validatePersistentSource(v *corev1.PersistentVolume, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	s := &v.Spec.PersistentVolumeSource
	count := 0
	one := func(present bool, name string, check func(at *field.Path) field.ErrorList) {
		switch {
		case !present:
		case count > 0:
			errs = append(errs, field.Forbidden(at.Child(name), "may not specify more than 1 volume type"))
		default:
			count++
			if check != nil {
				errs = append(errs, check(at.Child(name))...)
			}
		}
	}
	required := func(value string, at *field.Path) field.ErrorList {
		if value == "" {
			return field.ErrorList{field.Required(at, "")}
		}
		return nil
	}
	one(s.HostPath != nil, "hostPath", func(at *field.Path) field.ErrorList { return validateHostPath(s.HostPath, at) })
	one(s.GCEPersistentDisk != nil, "gcePersistentDisk", func(at *field.Path) field.ErrorList { return required(s.GCEPersistentDisk.PDName, at.Child("pdName")) })
	one(s.AWSElasticBlockStore != nil, "awsElasticBlockStore", func(at *field.Path) field.ErrorList {
		return required(s.AWSElasticBlockStore.VolumeID, at.Child("volumeID"))
	})
	one(s.Glusterfs != nil, "glusterfs", func(at *field.Path) field.ErrorList {
		return append(required(s.Glusterfs.EndpointsName, at.Child("endpoints")), required(s.Glusterfs.Path, at.Child("path"))...)
	})
	one(s.Flocker != nil, "flocker", nil)
	one(s.NFS != nil, "nfs", func(at *field.Path) field.ErrorList {
		errs := append(required(s.NFS.Server, at.Child("server")), required(s.NFS.Path, at.Child("path"))...)
		if !path.IsAbs(s.NFS.Path) {
			errs = append(errs, field.Invalid(at.Child("path"), s.NFS.Path, "must be an absolute path"))
		}
		return errs
	})
	one(s.RBD != nil, "rbd", func(at *field.Path) field.ErrorList { return required(s.RBD.RBDImage, at.Child("image")) })
	one(s.Quobyte != nil, "quobyte", nil)
	one(s.CephFS != nil, "cephFS", func(at *field.Path) field.ErrorList {
		if len(s.CephFS.Monitors) == 0 {
			return field.ErrorList{field.Required(at.Child("monitors"), "")}
		}
		return nil
	})
	one(s.ISCSI != nil, "iscsi", func(at *field.Path) field.ErrorList {
		return append(required(s.ISCSI.TargetPortal, at.Child("targetPortal")), required(s.ISCSI.IQN, at.Child("iqn"))...)
	})
	one(s.Cinder != nil, "cinder", func(at *field.Path) field.ErrorList { return required(s.Cinder.VolumeID, at.Child("volumeID")) })
	one(s.FC != nil, "fc", nil)
	one(s.FlexVolume != nil, "flexVolume", func(at *field.Path) field.ErrorList { return required(s.FlexVolume.Driver, at.Child("driver")) })
	one(s.AzureFile != nil, "azureFile", func(at *field.Path) field.ErrorList {
		return append(required(s.AzureFile.SecretName, at.Child("secretName")), required(s.AzureFile.ShareName, at.Child("shareName"))...)
	})
	one(s.VsphereVolume != nil, "vsphereVolume", func(at *field.Path) field.ErrorList {
		return required(s.VsphereVolume.VolumePath, at.Child("volumePath"))
	})
	one(s.PhotonPersistentDisk != nil, "photonPersistentDisk", func(at *field.Path) field.ErrorList {
		return required(s.PhotonPersistentDisk.PdID, at.Child("pdID"))
	})
	one(s.PortworxVolume != nil, "portworxVolume", func(at *field.Path) field.ErrorList { return required(s.PortworxVolume.VolumeID, at.Child("volumeID")) })
	one(s.AzureDisk != nil, "azureDisk", func(at *field.Path) field.ErrorList {
		return append(required(s.AzureDisk.DiskName, at.Child("diskName")), required(s.AzureDisk.DataDiskURI, at.Child("diskURI"))...)
	})
	one(s.ScaleIO != nil, "scaleIO", func(at *field.Path) field.ErrorList { return required(s.ScaleIO.Gateway, at.Child("gateway")) })
	one(s.Local != nil, "local", func(here *field.Path) field.ErrorList {
		errs := required(s.Local.Path, here.Child("path"))
		if slices.Contains(strings.Split(s.Local.Path, "/"), "..") {
			errs = append(errs, field.Invalid(here.Child("path"), s.Local.Path, "must not contain '..'"))
		}
		if v.Spec.NodeAffinity == nil {
			errs = append(errs, field.Required(at.Child("nodeAffinity"), "Local volume requires node affinity"))
		}
		return errs
	})
	one(s.StorageOS != nil, "storageos", nil)
	one(s.CSI != nil, "csi", func(at *field.Path) field.ErrorList { return validatePersistentCSI(s.CSI, at) })
	if count == 0 {
		errs = append(errs, field.Required(at, "must specify a volume type"))
	}
	return errs
}

func validatePersistentCSI(c *corev1.CSIPersistentVolumeSource, at *field.Path) field.ErrorList {
	errs := driverName(c.Driver, at.Child("driver"))
	if c.VolumeHandle == "" {
		errs = append(errs, field.Required(at.Child("volumeHandle"), ""))
	}
	for _, ref := range []struct {
		name   string
		secret *corev1.SecretReference
	}{
		{"controllerPublishSecretRef", c.ControllerPublishSecretRef}, {"controllerExpandSecretRef", c.ControllerExpandSecretRef},
		{"nodeStageSecretRef", c.NodeStageSecretRef}, {"nodePublishSecretRef", c.NodePublishSecretRef}, {"nodeExpandSecretRef", c.NodeExpandSecretRef},
	} {
		if ref.secret != nil {
			here := at.Child(ref.name)
			errs = append(errs, needName(ref.secret.Name, here.Child("name"), dnsSubdomain)...)
			errs = append(errs, needName(ref.secret.Namespace, here.Child("namespace"), dnsLabel)...)
		}
	}
	return errs
}

func validateAccessModes(modes []corev1.PersistentVolumeAccessMode, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	alone, others := false, false
	for _, m := range modes {
		switch m {
		case corev1.ReadWriteOncePod:
			alone = true
		case corev1.ReadWriteOnce, corev1.ReadOnlyMany, corev1.ReadWriteMany:
			others = true
		default:
			errs = append(errs, field.NotSupported(at, m, []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod}))
		}
	}
	if alone && others {
		errs = append(errs, field.Forbidden(at, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

func validateVolumeMode(mode *corev1.PersistentVolumeMode, at *field.Path) field.ErrorList {
	if mode == nil {
		return nil
	}
	return supported(*mode, at, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
}

func positiveQuantity(q resource.Quantity, at *field.Path) field.ErrorList {
	if q.Sign() > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, q.String(), "must be greater than zero")}
}

// accessModes shortens modes as kubectl's users know them, in a fixed order.
func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var out []string
	for _, m := range []struct {
		mode  corev1.PersistentVolumeAccessMode
		short string
	}{{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"}} {
		if slices.Contains(modes, m.mode) {
			out = append(out, m.short)
		}
	}
	return strings.Join(out, ",")
}

func storageSize(list corev1.ResourceList) string {
	q := list[corev1.ResourceStorage]
	return q.String()
}

// phaseOf is the phase of an object, or that it is going.
func phaseOf(obj metav1.Object, phase string) string {
	if obj.GetDeletionTimestamp() != nil {
		return "Terminating"
	}
	return phase
}

// storageClassOf is the storage class of a volume or claim; an annotation of older days counts first.
func storageClassOf(obj metav1.Object, class string) string {
	if old, ok := obj.GetAnnotations()[corev1.BetaStorageClassAnnotation]; ok {
		return old
	}
	return class
}
