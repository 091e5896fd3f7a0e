package builtin

import (
	"path"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateVolumes checks the volumes and gives them by name, for the mounts.
func validateVolumes(volumes []corev1.Volume, at *field.Path) (map[string]*corev1.Volume, field.ErrorList) {
	var errs field.ErrorList
	byName := make(map[string]*corev1.Volume, len(volumes))
	for i := range volumes {
		v, here := &volumes[i], at.Index(i)
		errs = append(errs, needName(v.Name, here.Child("name"), dnsLabel)...)
		if _, ok := byName[v.Name]; ok {
			errs = append(errs, field.Duplicate(here.Child("name"), v.Name))
		}
		byName[v.Name] = v
		errs = append(errs, validateVolumeSource(&v.VolumeSource, here)...)
	}
	return byName, errs
}

func validateVolumeSource(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch n := sources(v); {
	case n == 0:
		return field.ErrorList{field.Required(at, "must specify a volume type")}
	case n > 1:
		errs = append(errs, field.Forbidden(at, "may not specify more than 1 volume type"))
	}
	if v.HostPath != nil {
		errs = append(errs, validateHostPath(v.HostPath, at.Child("hostPath"))...)
	}
	if v.EmptyDir != nil && v.EmptyDir.SizeLimit != nil && v.EmptyDir.SizeLimit.Sign() < 0 {
		errs = append(errs, field.Forbidden(at.Child("emptyDir", "sizeLimit"), "SizeLimit field must be a valid resource quantity"))
	}
	if s := v.Secret; s != nil {
		errs = append(errs, needName(s.SecretName, at.Child("secret", "secretName"), dnsSubdomain)...)
		errs = append(errs, fileMode(s.DefaultMode, at.Child("secret", "defaultMode"))...)
		errs = append(errs, validateItems(s.Items, at.Child("secret", "items"))...)
	}
	if c := v.ConfigMap; c != nil {
		errs = append(errs, needName(c.Name, at.Child("configMap", "name"), dnsSubdomain)...)
		errs = append(errs, fileMode(c.DefaultMode, at.Child("configMap", "defaultMode"))...)
		errs = append(errs, validateItems(c.Items, at.Child("configMap", "items"))...)
	}
	if d := v.DownwardAPI; d != nil {
		errs = append(errs, fileMode(d.DefaultMode, at.Child("downwardAPI", "defaultMode"))...)
		errs = append(errs, validateDownward(d.Items, at.Child("downwardAPI", "items"))...)
	}
	if p := v.Projected; p != nil {
		errs = append(errs, validateProjected(p, at.Child("projected"))...)
	}
	if p := v.PersistentVolumeClaim; p != nil {
		errs = append(errs, needName(p.ClaimName, at.Child("persistentVolumeClaim", "claimName"), dnsSubdomain)...)
	}
	if n := v.NFS; n != nil {
		if n.Server == "" {
			errs = append(errs, field.Required(at.Child("nfs", "server"), ""))
		}
		if !path.IsAbs(n.Path) {
			errs = append(errs, field.Invalid(at.Child("nfs", "path"), n.Path, "must be an absolute path"))
		}
	}
	if c := v.CSI; c != nil {
		errs = append(errs, driverName(c.Driver, at.Child("csi", "driver"))...)
		if c.NodePublishSecretRef != nil {
			errs = append(errs, needName(c.NodePublishSecretRef.Name, at.Child("csi", "nodePublishSecretRef", "name"), dnsSubdomain)...)
		}
	}
	if e := v.Ephemeral; e != nil {
		template := at.Child("ephemeral", "volumeClaimTemplate")
		if e.VolumeClaimTemplate == nil {
			errs = append(errs, field.Required(template, ""))
		} else {
			errs = append(errs, validateClaimSpec(&e.VolumeClaimTemplate.Spec, template.Child("spec"))...)
		}
	}
	if i := v.Image; i != nil {
		if i.Reference == "" {
			errs = append(errs, field.Required(at.Child("image", "reference"), ""))
		}
		errs = append(errs, oneOf(i.PullPolicy, at.Child("image", "pullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	}
	return errs
}

// sources counts which of the many sources of a volume are set.
func sources(v *corev1.VolumeSource) int {
	n := 0
	rv := reflect.ValueOf(v).Elem()
	for i := range rv.NumField() {
		if !rv.Field(i).IsNil() { // every source is a pointer
			n++
		}
	}
	return n
}

func validateHostPath(h *corev1.HostPathVolumeSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if h.Path == "" {
		errs = append(errs, field.Required(at.Child("path"), ""))
	}
	errs = append(errs, noDots(h.Path, at.Child("path"))...)
	if t := deref(h.Type); t != "" {
		errs = append(errs, oneOf(t, at.Child("type"), corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory,
			corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket)...)
	}
	return errs
}

func validateItems(items []corev1.KeyToPath, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, item := range items {
		if item.Key == "" {
			errs = append(errs, field.Required(at.Index(i).Child("key"), ""))
		}
		errs = append(errs, inside(item.Path, true, at.Index(i).Child("path"))...)
		errs = append(errs, fileMode(item.Mode, at.Index(i).Child("mode"))...)
	}
	return errs
}

func validateDownward(items []corev1.DownwardAPIVolumeFile, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, item := range items {
		here := at.Index(i)
		errs = append(errs, inside(item.Path, true, here.Child("path"))...)
		errs = append(errs, fileMode(item.Mode, here.Child("mode"))...)
		switch {
		case item.FieldRef != nil && item.ResourceFieldRef != nil:
			errs = append(errs, field.Invalid(here, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
		case item.FieldRef != nil:
			errs = append(errs, validateFieldRef(item.FieldRef, here.Child("fieldRef"))...)
		case item.ResourceFieldRef == nil:
			errs = append(errs, field.Required(here, "one of fieldRef and resourceFieldRef is required"))
		}
	}
	return errs
}

func validateProjected(p *corev1.ProjectedVolumeSource, at *field.Path) field.ErrorList {
	errs := fileMode(p.DefaultMode, at.Child("defaultMode"))
	for i, s := range p.Sources {
		here := at.Child("sources").Index(i)
		count := 0
		if s.Secret != nil {
			count++
			errs = append(errs, needName(s.Secret.Name, here.Child("secret", "name"), dnsSubdomain)...)
			errs = append(errs, validateItems(s.Secret.Items, here.Child("secret", "items"))...)
		}
		if s.ConfigMap != nil {
			count++
			errs = append(errs, needName(s.ConfigMap.Name, here.Child("configMap", "name"), dnsSubdomain)...)
			errs = append(errs, validateItems(s.ConfigMap.Items, here.Child("configMap", "items"))...)
		}
		if s.DownwardAPI != nil {
			count++
			errs = append(errs, validateDownward(s.DownwardAPI.Items, here.Child("downwardAPI", "items"))...)
		}
		if t := s.ServiceAccountToken; t != nil {
			count++
			errs = append(errs, inside(t.Path, true, here.Child("serviceAccountToken", "path"))...)
			errs = append(errs, atLeast(deref(t.ExpirationSeconds), 10*60, here.Child("serviceAccountToken", "expirationSeconds"))...)
		}
		if s.ClusterTrustBundle != nil {
			count++
		}
		if s.PodCertificate != nil {
			count++
		}
		switch {
		case count == 0:
			errs = append(errs, field.Required(here, "must specify a source"))
		case count > 1:
			errs = append(errs, field.Forbidden(here, "may not specify more than 1 volume type"))
		}
	}
	return errs
}

func (s *podScope) mounts(mounts []corev1.VolumeMount, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	paths := make(seen[string], len(mounts))
	for i, m := range mounts {
		here := at.Index(i)
		if m.Name == "" {
			errs = append(errs, field.Required(here.Child("name"), ""))
		} else if s.volumes[m.Name] == nil {
			errs = append(errs, field.NotFound(here.Child("name"), m.Name))
		}
		if m.MountPath == "" {
			errs = append(errs, field.Required(here.Child("mountPath"), ""))
		} else if len(paths.add(m.MountPath, here)) > 0 {
			errs = append(errs, field.Invalid(here.Child("mountPath"), m.MountPath, "must be unique"))
		}
		if m.SubPath != "" && m.SubPathExpr != "" {
			errs = append(errs, field.Invalid(here.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
		}
		errs = append(errs, inside(m.SubPath, false, here.Child("subPath"))...)
		errs = append(errs, inside(m.SubPathExpr, false, here.Child("subPathExpr"))...)
		if m.MountPropagation != nil {
			errs = append(errs, oneOf(*m.MountPropagation, here.Child("mountPropagation"),
				corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)...)
		}
	}
	return errs
}

// inside wants a relative path that stays in its directory.
func inside(p string, need bool, at *field.Path) field.ErrorList {
	if p == "" {
		if need {
			return field.ErrorList{field.Required(at, "")}
		}
		return nil
	}
	if path.IsAbs(p) {
		return field.ErrorList{field.Invalid(at, p, "must be a relative path")}
	}
	return noDots(p, at)
}

func noDots(p string, at *field.Path) field.ErrorList {
	if slices.Contains(strings.Split(strings.ReplaceAll(p, `\`, "/"), "/"), "..") {
		return field.ErrorList{field.Invalid(at, p, "must not contain '..'")}
	}
	return nil
}

func fileMode(mode *int32, at *field.Path) field.ErrorList {
	if mode != nil && (*mode < 0 || *mode > 0o777) {
		return field.ErrorList{field.Invalid(at, *mode, "must be a number between 0 and 0777 (octal), both inclusive")}
	}
	return nil
}
