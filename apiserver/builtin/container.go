package builtin

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podScope is what the parts of one pod spec are checked against.
type podScope struct {
	volumes   map[string]*corev1.Volume
	names     seen[string] // of containers of all sorts
	hostPorts seen[string]
	hostUsers bool // the pod shares the host's user ids
	restart   corev1.RestartPolicy
	grace     *int64 // seconds
}

func (s *podScope) containers(spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(spec.Containers) == 0 {
		errs = append(errs, field.Required(at.Child("containers"), ""))
	}
	for i := range spec.Containers {
		errs = append(errs, s.container(&spec.Containers[i], at.Child("containers").Index(i))...)
	}
	for i := range spec.InitContainers {
		c, here := &spec.InitContainers[i], at.Child("initContainers").Index(i)
		s.hostPorts = make(seen[string]) // it has stopped when the others listen
		errs = append(errs, s.container(c, here)...)
		if deref(c.RestartPolicy) == corev1.ContainerRestartPolicyAlways {
			continue // a sidecar runs beside the others, so that it may be probed
		}
		if c.Lifecycle != nil {
			errs = append(errs, field.Forbidden(here.Child("lifecycle"), "may not be set for init containers without restartPolicy=Always"))
		}
		for name, p := range sorted(map[string]*corev1.Probe{"livenessProbe": c.LivenessProbe, "readinessProbe": c.ReadinessProbe, "startupProbe": c.StartupProbe}) {
			if p != nil {
				errs = append(errs, field.Forbidden(here.Child(name), "may not be set for init containers without restartPolicy=Always"))
			}
		}
	}
	for i := range spec.EphemeralContainers {
		c := corev1.Container(spec.EphemeralContainers[i].EphemeralContainerCommon)
		here := at.Child("ephemeralContainers").Index(i)
		errs = append(errs, s.container(&c, here)...)
		errs = append(errs, ephemeralOnly(&spec.EphemeralContainers[i], spec, here)...)
	}
	return errs
}

func (s *podScope) container(c *corev1.Container, at *field.Path) field.ErrorList {
	errs := needName(c.Name, at.Child("name"), dnsLabel)
	if c.Name != "" {
		errs = append(errs, s.names.add(c.Name, at.Child("name"))...)
	}
	switch image := strings.TrimSpace(c.Image); {
	case c.Image == "":
		errs = append(errs, field.Required(at.Child("image"), ""))
	case image != c.Image:
		errs = append(errs, field.Invalid(at.Child("image"), c.Image, "must not have leading or trailing whitespace"))
	}
	errs = append(errs, oneOf(c.ImagePullPolicy, at.Child("imagePullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, oneOf(c.TerminationMessagePolicy, at.Child("terminationMessagePolicy"), corev1.TerminationMessageFallbackToLogsOnError, corev1.TerminationMessageReadFile)...)
	if c.RestartPolicy != nil {
		errs = append(errs, oneOf(*c.RestartPolicy, at.Child("restartPolicy"), corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)...)
	}
	errs = append(errs, s.ports(c.Ports, at.Child("ports"))...)
	errs = append(errs, validateEnv(c.Env, at.Child("env"))...)
	errs = append(errs, validateEnvFrom(c.EnvFrom, at.Child("envFrom"))...)
	errs = append(errs, s.mounts(c.VolumeMounts, at.Child("volumeMounts"))...)
	errs = append(errs, validateResources(c.Resources, at.Child("resources"))...)
	errs = append(errs, validateProbe(c.LivenessProbe, true, at.Child("livenessProbe"))...)
	errs = append(errs, validateProbe(c.ReadinessProbe, false, at.Child("readinessProbe"))...)
	errs = append(errs, validateProbe(c.StartupProbe, true, at.Child("startupProbe"))...)
	if c.Lifecycle != nil {
		if h := c.Lifecycle.PostStart; h != nil {
			errs = append(errs, s.hook(h, at.Child("lifecycle", "postStart"))...)
		}
		if h := c.Lifecycle.PreStop; h != nil {
			errs = append(errs, s.hook(h, at.Child("lifecycle", "preStop"))...)
		}
	}
	errs = append(errs, validateContainerSecurity(c.SecurityContext, s.hostUsers, at.Child("securityContext"))...)
	errs = append(errs, s.devices(c, at.Child("volumeDevices"))...)
	errs = append(errs, validateResizePolicies(c.ResizePolicy, s.restart, at.Child("resizePolicy"))...)
	return errs
}

// hook checks what runs at a container's start or end: a sleep may not be longer than the pod is given to end.
func (s *podScope) hook(h *corev1.LifecycleHandler, at *field.Path) field.ErrorList {
	errs := validateHandler(*h, nil, at)
	if h.Sleep != nil && s.grace != nil && h.Sleep.Seconds > *s.grace {
		errs = append(errs, field.Invalid(at.Child("sleep"), h.Sleep.Seconds, fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *s.grace)))
	}
	return errs
}

func (s *podScope) ports(ports []corev1.ContainerPort, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := make(seen[string], len(ports))
	for i, p := range ports {
		here := at.Index(i)
		if p.Name != "" {
			errs = append(errs, checkName(p.Name, here.Child("name"), validation.IsValidPortName)...)
			errs = append(errs, names.add(p.Name, here.Child("name"))...)
		}
		if p.ContainerPort == 0 {
			errs = append(errs, field.Required(here.Child("containerPort"), ""))
		} else {
			errs = append(errs, portNumber(p.ContainerPort, here.Child("containerPort"))...)
		}
		errs = append(errs, protocol(p.Protocol, here.Child("protocol"))...)
		if p.HostIP != "" {
			errs = append(errs, validation.IsValidIP(here.Child("hostIP"), p.HostIP)...)
		}
		if p.HostPort != 0 {
			errs = append(errs, portNumber(p.HostPort, here.Child("hostPort"))...)
			key := strings.Join([]string{string(p.Protocol), p.HostIP, strconv.Itoa(int(p.HostPort))}, "/")
			errs = append(errs, s.hostPorts.add(key, here.Child("hostPort"))...)
		}
	}
	return errs
}

func validateEnv(env []corev1.EnvVar, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, e := range env {
		here := at.Index(i)
		errs = append(errs, needName(e.Name, here.Child("name"), validation.IsRelaxedEnvVarName)...)
		if e.ValueFrom == nil {
			continue
		}
		from := here.Child("valueFrom")
		count := 0
		if r := e.ValueFrom.FieldRef; r != nil {
			count++
			errs = append(errs, validateFieldRef(r, from.Child("fieldRef"))...)
		}
		if r := e.ValueFrom.ResourceFieldRef; r != nil {
			count++
			if r.Resource == "" {
				errs = append(errs, field.Required(from.Child("resourceFieldRef", "resource"), ""))
			}
		}
		if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
			count++
			errs = append(errs, validateKeyRef(r.Name, r.Key, from.Child("configMapKeyRef"))...)
		}
		if r := e.ValueFrom.SecretKeyRef; r != nil {
			count++
			errs = append(errs, validateKeyRef(r.Name, r.Key, from.Child("secretKeyRef"))...)
		}
		if e.ValueFrom.FileKeyRef != nil {
			count++
		}
		switch {
		case e.Value != "" && count > 0:
			errs = append(errs, field.Invalid(from, "", "may not be specified when `value` is not empty"))
		case count == 0:
			errs = append(errs, field.Invalid(from, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
		case count > 1:
			errs = append(errs, field.Invalid(from, "", "may not have more than one field specified at a time"))
		}
	}
	return errs
}

// podFields are the paths that a pod can read of itself. Source: Kubernetes documentation, Downward API.
func podFields() []string {
	return []string{
		"metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations",
		"spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
	}
}

func validateFieldRef(r *corev1.ObjectFieldSelector, at *field.Path) field.ErrorList {
	if r.FieldPath == "" {
		return field.ErrorList{field.Required(at.Child("fieldPath"), "")}
	}
	path := r.FieldPath
	if before, key, ok := strings.Cut(path, "['"); ok && strings.HasSuffix(key, "']") && (before == "metadata.labels" || before == "metadata.annotations") {
		path = before
	}
	for _, known := range podFields() {
		if path == known {
			return nil
		}
	}
	return field.ErrorList{field.NotSupported(at.Child("fieldPath"), r.FieldPath, podFields())}
}

func validateKeyRef(name, key string, at *field.Path) field.ErrorList {
	errs := needName(name, at.Child("name"), dnsSubdomain)
	return append(errs, needName(key, at.Child("key"), configKey)...)
}

func validateEnvFrom(sources []corev1.EnvFromSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, s := range sources {
		here := at.Index(i)
		errs = append(errs, mayName(s.Prefix, here.Child("prefix"), validation.IsRelaxedEnvVarName)...)
		switch {
		case s.ConfigMapRef != nil && s.SecretRef != nil:
			errs = append(errs, field.Invalid(here, "", "may not have more than one field specified at a time"))
		case s.ConfigMapRef != nil:
			errs = append(errs, needName(s.ConfigMapRef.Name, here.Child("configMapRef", "name"), dnsSubdomain)...)
		case s.SecretRef != nil:
			errs = append(errs, needName(s.SecretRef.Name, here.Child("secretRef", "name"), dnsSubdomain)...)
		default:
			errs = append(errs, field.Invalid(here, "", "must specify one of: `configMapRef` or `secretRef`"))
		}
	}
	return errs
}

func userAndGroup(user, group *int64, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if user != nil {
		for _, msg := range validation.IsValidUserID(*user) {
			errs = append(errs, field.Invalid(at.Child("runAsUser"), *user, msg))
		}
	}
	if group != nil {
		for _, msg := range validation.IsValidGroupID(*group) {
			errs = append(errs, field.Invalid(at.Child("runAsGroup"), *group, msg))
		}
	}
	return errs
}
