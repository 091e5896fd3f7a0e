package builtin

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func statefulSets() behaviour[*appsv1.StatefulSet] {
	return behaviour[*appsv1.StatefulSet]{
		defaults:       defaultStatefulSet,
		name:           dnsLabel, // it begins the host names of its pods
		validate:       validateStatefulSet,
		validateStatus: validateStatefulSetStatus,
		warnings: func(s, _ *appsv1.StatefulSet) []string {
			return podSpecWarnings(&s.Spec.Template.Spec, field.NewPath("spec", "template", "spec"))
		},
		status: true,
		scale: scaleOf(
			func(s *appsv1.StatefulSet) (*int32, int32, *metav1.LabelSelector) {
				return s.Spec.Replicas, s.Status.Replicas, s.Spec.Selector
			},
			func(s *appsv1.StatefulSet) **int32 { return &s.Spec.Replicas }),
		columns: append([]kind.Column{
			nameColumn(),
			column("Ready", "Ready pods of those wanted", func(s *appsv1.StatefulSet, _ time.Time) any {
				return ratio(s.Status.ReadyReplicas, deref(s.Spec.Replicas))
			}),
			ageColumn(),
		}, templateColumns(func(s *appsv1.StatefulSet) (*metav1.LabelSelector, containers) {
			return s.Spec.Selector, s.Spec.Template.Spec.Containers
		})[:2]...), // no selector, as upstream
	}
}

func defaultStatefulSet(s *appsv1.StatefulSet) {
	spec := &s.Spec
	set(&spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	if spec.UpdateStrategy.Type == "" {
		spec.UpdateStrategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
		setPtr(&spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	if r := spec.UpdateStrategy.RollingUpdate; r != nil && spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		setPtr(&r.Partition, 0)
		setPtr(&r.MaxUnavailable, intstr.FromInt32(1))
	}
	setPtr(&spec.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	set(&spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	set(&spec.PersistentVolumeClaimRetentionPolicy.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	setPtr(&spec.Replicas, 1)
	setPtr(&spec.RevisionHistoryLimit, 10)
	for i := range spec.VolumeClaimTemplates {
		claim := &spec.VolumeClaimTemplates[i]
		set(&claim.APIVersion, "v1")
		set(&claim.Kind, "PersistentVolumeClaim")
		defaultClaim(claim)
	}
	defaultPodSpec(&spec.Template.Spec)
}

func validateStatefulSet(s, old *appsv1.StatefulSet) field.ErrorList {
	at, spec := field.NewPath("spec"), &s.Spec
	errs := stringOneOf(spec.PodManagementPolicy, at.Child("podManagementPolicy"), appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement)
	errs = append(errs, validateStatefulSetRollout(&spec.UpdateStrategy, at.Child("updateStrategy"))...)
	if p := spec.PersistentVolumeClaimRetentionPolicy; p != nil {
		here := at.Child("persistentVolumeClaimRetentionPolicy")
		policies := []appsv1.PersistentVolumeClaimRetentionPolicyType{appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType}
		errs = append(errs, supported(p.WhenDeleted, here.Child("whenDeleted"), policies...)...)
		errs = append(errs, supported(p.WhenScaled, here.Child("whenScaled"), policies...)...)
	}
	for i := range spec.VolumeClaimTemplates {
		errs = append(errs, validateClaimSpec(&spec.VolumeClaimTemplates[i].Spec, at.Child("volumeClaimTemplates").Index(i).Child("spec"))...)
	}
	errs = append(errs, notNegative(deref(spec.Replicas), at.Child("replicas"))...)
	errs = append(errs, notNegative(spec.MinReadySeconds, at.Child("minReadySeconds"))...)
	errs = append(errs, notNegative(deref(spec.RevisionHistoryLimit), at.Child("revisionHistoryLimit"))...)
	if spec.Ordinals != nil {
		errs = append(errs, notNegative(spec.Ordinals.Start, at.Child("ordinals.start"))...)
	}
	if old == nil || spec.ServiceName != old.Spec.ServiceName {
		errs = append(errs, mayName(spec.ServiceName, at.Child("serviceName"), dnsLabel)...)
	}
	errs = append(errs, validateSelectorOf("statefulset", spec.Selector, at.Child("selector"))...)
	errs = append(errs, validateTemplate(withClaims(spec), spec.Selector, at.Child("template"))...)
	errs = append(errs, restartsAlwaysIn("StatefulSet", &spec.Template.Spec, at.Child("template", "spec"))...)
	if old == nil {
		return errs
	}
	errs = append(errs, immutable(spec.Selector, old.Spec.Selector, at.Child("selector"))...)
	errs = append(errs, immutable(spec.VolumeClaimTemplates, old.Spec.VolumeClaimTemplates, at.Child("volumeClaimTemplates"))...)
	errs = append(errs, immutable(spec.ServiceName, old.Spec.ServiceName, at.Child("serviceName"))...)
	return append(errs, immutable(spec.PodManagementPolicy, old.Spec.PodManagementPolicy, at.Child("podManagementPolicy"))...)
}

// withClaims is the template as the controller uses it: with a volume for each claim, and names that it sets itself.
func withClaims(spec *appsv1.StatefulSetSpec) *corev1.PodTemplateSpec {
	if len(spec.VolumeClaimTemplates) == 0 && spec.Template.Spec.Subdomain == "" && spec.Template.Spec.Hostname == "" {
		return &spec.Template
	}
	t := spec.Template.DeepCopy()
	t.Spec.Subdomain, t.Spec.Hostname = "", ""
	claimed := make(map[string]bool, len(spec.VolumeClaimTemplates))
	var volumes []corev1.Volume
	for i := range spec.VolumeClaimTemplates {
		name := spec.VolumeClaimTemplates[i].Name
		if claimed[name] {
			continue
		}
		claimed[name] = true
		volumes = append(volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}})
	}
	for _, v := range t.Spec.Volumes {
		if !claimed[v.Name] {
			volumes = append(volumes, v)
		}
	}
	t.Spec.Volumes = volumes
	return t
}

func validateStatefulSetRollout(u *appsv1.StatefulSetUpdateStrategy, at *field.Path) field.ErrorList {
	here := at.Child("rollingUpdate")
	switch u.Type {
	case "":
		return field.ErrorList{field.Required(at, "")}
	case appsv1.OnDeleteStatefulSetStrategyType:
		if u.RollingUpdate != nil {
			return field.ErrorList{field.Invalid(here, u.RollingUpdate, fmt.Sprintf("only allowed for updateStrategy '%s'", appsv1.RollingUpdateStatefulSetStrategyType))}
		}
		return nil
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if u.RollingUpdate == nil {
			return nil
		}
		errs := notNegative(deref(u.RollingUpdate.Partition), here.Child("partition"))
		if m := u.RollingUpdate.MaxUnavailable; m != nil {
			errs = append(errs, numberOrPercent(*m, here.Child("maxUnavailable"))...)
			errs = append(errs, atMostAll(*m, here.Child("maxUnavailable"))...)
			if amount(*m) == 0 && len(errs) == 0 {
				errs = append(errs, field.Invalid(here.Child("maxUnavailable"), *m, "cannot be 0"))
			}
		}
		return errs
	}
	return field.ErrorList{field.Invalid(at, *u, fmt.Sprintf("must be '%s' or '%s'", appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType))}
}

func validateStatefulSetStatus(set, old *appsv1.StatefulSet) field.ErrorList {
	at, s := field.NewPath("status"), &set.Status
	errs := counts(at, map[string]int32{"replicas": s.Replicas, "readyReplicas": s.ReadyReplicas, "currentReplicas": s.CurrentReplicas,
		"updatedReplicas": s.UpdatedReplicas, "availableReplicas": s.AvailableReplicas, "collisionCount": deref(s.CollisionCount)})
	errs = append(errs, notNegative(s.ObservedGeneration, at.Child("observedGeneration"))...)
	errs = append(errs, atMost(s.ReadyReplicas, s.Replicas, "status.replicas", at.Child("readyReplicas"))...)
	errs = append(errs, atMost(s.CurrentReplicas, s.Replicas, "status.replicas", at.Child("currentReplicas"))...)
	errs = append(errs, atMost(s.UpdatedReplicas, s.Replicas, "status.replicas", at.Child("updatedReplicas"))...)
	errs = append(errs, atMost(s.AvailableReplicas, s.Replicas, "status.replicas", at.Child("availableReplicas"))...)
	errs = append(errs, atMost(s.AvailableReplicas, s.ReadyReplicas, "status.readyReplicas", at.Child("availableReplicas"))...)
	if old != nil {
		errs = append(errs, notLess(s.CollisionCount, old.Status.CollisionCount, at.Child("collisionCount"))...)
	}
	return errs
}
