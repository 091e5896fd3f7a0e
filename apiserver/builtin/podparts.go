package builtin

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// takeEphemeralContainers is what pods/ephemeralcontainers writes.
func takeEphemeralContainers(into, from *corev1.Pod) {
	into.Spec.EphemeralContainers = from.DeepCopy().Spec.EphemeralContainers
}

func validateEphemeralContainers(p, old *corev1.Pod) field.ErrorList {
	if _, static := old.Annotations[corev1.MirrorPodAnnotationKey]; static {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")}
	}
	at := field.NewPath("spec")
	errs := validatePodSpec(&p.Spec, at)
	for _, b := range old.Spec.EphemeralContainers {
		i := slices.IndexFunc(p.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == b.Name })
		switch {
		case i < 0:
			errs = append(errs, field.Forbidden(at.Child("ephemeralContainers"), fmt.Sprintf("existing ephemeral containers %q may not be removed\n", b.Name)))
		case !same(p.Spec.EphemeralContainers[i], b):
			errs = append(errs, field.Forbidden(at.Child("ephemeralContainers"), fmt.Sprintf("existing ephemeral containers %q may not be changed\n", b.Name)))
		}
	}
	return errs
}

// ephemeralOnly refuses what a container that only looks at others can't have.
func ephemeralOnly(c *corev1.EphemeralContainer, s *corev1.PodSpec, at *field.Path) field.ErrorList {
	const never = "cannot be set for an Ephemeral Container"
	var errs field.ErrorList
	for _, no := range []struct {
		name  string
		given bool
	}{
		{"ports", len(c.Ports) > 0}, {"resources", len(c.Resources.Limits)+len(c.Resources.Requests)+len(c.Resources.Claims) > 0}, {"resizePolicy", len(c.ResizePolicy) > 0},
		{"livenessProbe", c.LivenessProbe != nil}, {"readinessProbe", c.ReadinessProbe != nil}, {"startupProbe", c.StartupProbe != nil},
		{"lifecycle", c.Lifecycle != nil}, {"restartPolicy", c.RestartPolicy != nil},
	} {
		if no.given {
			errs = append(errs, field.Forbidden(at.Child(no.name), never))
		}
	}
	for i, m := range c.VolumeMounts {
		if m.SubPath != "" {
			errs = append(errs, field.Forbidden(at.Child("volumeMounts").Index(i).Child("subPath"), never))
		}
		if m.SubPathExpr != "" {
			errs = append(errs, field.Forbidden(at.Child("volumeMounts").Index(i).Child("subPathExpr"), never))
		}
	}
	named := func(o corev1.Container) bool { return o.Name == c.TargetContainerName }
	if c.TargetContainerName != "" && !slices.ContainsFunc(s.Containers, named) && !slices.ContainsFunc(s.InitContainers, named) {
		errs = append(errs, field.NotFound(at.Child("targetContainerName"), c.TargetContainerName))
	}
	return errs
}

// takeResources is what pods/resize writes: resources of containers and of the pod, and how containers take a change of theirs. Lists
// of containers that are not the old ones are taken whole, so that validation can say so.
func takeResources(into, from *corev1.Pod) {
	from = from.DeepCopy()
	for _, list := range []struct{ into, from *[]corev1.Container }{{&into.Spec.Containers, &from.Spec.Containers}, {&into.Spec.InitContainers, &from.Spec.InitContainers}} {
		if !slices.EqualFunc(*list.into, *list.from, func(a, b corev1.Container) bool { return a.Name == b.Name }) {
			*list.into = *list.from
			continue
		}
		for i := range *list.into {
			(*list.into)[i].Resources, (*list.into)[i].ResizePolicy = (*list.from)[i].Resources, (*list.from)[i].ResizePolicy
		}
	}
	into.Spec.Resources = from.Spec.Resources
}

// validateResize checks a change of resources while the pod runs. Its node has to be able to follow: one whose agent does not
// report the resources of running containers can't. Source: KEP 1287.
func validateResize(p, old *corev1.Pod) field.ErrorList {
	if _, static := old.Annotations[corev1.MirrorPodAnnotationKey]; static {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	}
	if old.Spec.OS != nil && old.Spec.OS.Name == corev1.Windows {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "windows pods cannot be resized")}
	}
	at := field.NewPath("spec")
	errs := sameContainers(p, old, at)
	if len(errs) > 0 {
		return errs
	}
	errs = append(errs, validatePodSpec(&p.Spec, at)...)
	if was := old.Status.QOSClass; was != "" && qosClass(&p.Spec) != was {
		errs = append(errs, field.Invalid(at, p.Status.QOSClass, "Pod QOS Class may not change as a result of resizing"))
	}
	for _, c := range old.Status.ContainerStatuses {
		if c.State.Running != nil {
			if c.Resources == nil {
				errs = append(errs, field.Forbidden(at, "Pod running on node without support for resize"))
			}
			break // the first that runs tells for all
		}
	}
	for _, list := range []struct {
		name     string
		now, was []corev1.Container
	}{{"containers", p.Spec.Containers, old.Spec.Containers}, {"initContainers", p.Spec.InitContainers, old.Spec.InitContainers}} {
		for i := range list.now {
			here := at.Child(list.name).Index(i)
			errs = append(errs, validateContainerResize(&list.now[i], &list.was[i], here.Child("resources"))...)
			if !same(withoutComputing(list.now[i]), withoutComputing(list.was[i])) {
				errs = append(errs, field.Forbidden(at, "only cpu and memory resources are mutable"))
			}
		}
	}
	return errs
}

func sameContainers(p, old *corev1.Pod, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, list := range []struct {
		name     string
		now, was []corev1.Container
	}{{"containers", p.Spec.Containers, old.Spec.Containers}, {"initContainers", p.Spec.InitContainers, old.Spec.InitContainers}} {
		if len(list.now) != len(list.was) {
			errs = append(errs, field.Forbidden(at.Child(list.name), list.name+" may not be added or removed on resize"))
			continue
		}
		for i := range list.now {
			if list.now[i].Name != list.was[i].Name {
				errs = append(errs, field.Forbidden(at.Child(list.name).Index(i).Child("name"), list.name+" may not be renamed or reordered on resize"))
			}
		}
	}
	return errs
}

func validateContainerResize(now, was *corev1.Container, at *field.Path) field.ErrorList {
	removed := func(now, was corev1.ResourceList) bool {
		for name := range was {
			if _, ok := now[name]; !ok {
				return true
			}
		}
		return false
	}
	var errs field.ErrorList
	if removed(now.Resources.Requests, was.Resources.Requests) {
		errs = append(errs, field.Forbidden(at.Child("requests"), "resource requests cannot be removed"))
	}
	if removed(now.Resources.Limits, was.Resources.Limits) {
		errs = append(errs, field.Forbidden(at.Child("limits"), "resource limits cannot be removed"))
	}
	return errs
}

// withoutComputing is a container without its CPU and memory, for comparing the rest.
func withoutComputing(c corev1.Container) corev1.Container {
	out := *c.DeepCopy()
	for _, list := range []corev1.ResourceList{out.Resources.Requests, out.Resources.Limits} {
		delete(list, corev1.ResourceCPU)
		delete(list, corev1.ResourceMemory)
	}
	return out
}
