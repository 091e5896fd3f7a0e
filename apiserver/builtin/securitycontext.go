package builtin

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Bounds of names in security contexts. Source: kube-apiserver; sysctl.d(5); PATH_MAX of Linux.
const (
	maxSysctl  = 253
	maxProfile = 4095
)

// validatePodSecurity checks a pod's security context and what goes with it.
func validatePodSecurity(s *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if sc := s.SecurityContext; sc != nil {
		here := at.Child("securityContext")
		errs = append(errs, userAndGroup(sc.RunAsUser, sc.RunAsGroup, here)...)
		groups := slices.Clone(sc.SupplementalGroups)
		for i, g := range groups {
			for _, msg := range validation.IsValidGroupID(g) {
				errs = append(errs, field.Invalid(here.Child("supplementalGroups").Index(i), g, msg))
			}
		}
		if sc.FSGroup != nil {
			for _, msg := range validation.IsValidGroupID(*sc.FSGroup) {
				errs = append(errs, field.Invalid(here.Child("fsGroup"), *sc.FSGroup, msg))
			}
		}
		if p := sc.FSGroupChangePolicy; p != nil {
			errs = append(errs, supported(*p, here.Child("fsGroupChangePolicy"), corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)...)
		}
		if p := sc.SupplementalGroupsPolicy; p != nil {
			errs = append(errs, supported(*p, here.Child("supplementalGroupsPolicy"), corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)...)
		}
		errs = append(errs, validateSysctls(sc.Sysctls, here.Child("sysctls"))...)
		errs = append(errs, validateSeccomp(sc.SeccompProfile, here.Child("seccompProfile"))...)
		errs = append(errs, validateAppArmor(sc.AppArmorProfile, here.Child("appArmorProfile"))...)
	}
	if deref(s.ShareProcessNamespace) && s.HostPID {
		errs = append(errs, field.Invalid(at.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	if s.HostUsers != nil && !*s.HostUsers {
		for name, host := range sorted(map[string]bool{"hostNetwork": s.HostNetwork, "HostPID": s.HostPID, "HostIPC": s.HostIPC}) {
			if host {
				errs = append(errs, field.Forbidden(at.Child(name), "when `hostUsers` is false"))
			}
		}
	}
	if s.OS != nil {
		errs = append(errs, validateOS(s, at)...)
	}
	return errs
}

// validateContainerSecurity checks a container's. hostUsers says whether the pod shares the host's user ids.
func validateContainerSecurity(sc *corev1.SecurityContext, hostUsers bool, at *field.Path) field.ErrorList {
	if sc == nil {
		return nil
	}
	errs := userAndGroup(sc.RunAsUser, sc.RunAsGroup, at)
	if p := sc.ProcMount; p != nil {
		errs = append(errs, supported(*p, at.Child("procMount"), corev1.DefaultProcMount, corev1.UnmaskedProcMount)...)
		if hostUsers && *p == corev1.UnmaskedProcMount {
			errs = append(errs, field.Invalid(at.Child("procMount"), *p, "`hostUsers` must be false to use `Unmasked`"))
		}
	}
	errs = append(errs, validateSeccomp(sc.SeccompProfile, at.Child("seccompProfile"))...)
	errs = append(errs, validateAppArmor(sc.AppArmorProfile, at.Child("appArmorProfile"))...)
	if sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation {
		if deref(sc.Privileged) {
			errs = append(errs, field.Invalid(at, sc, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
		}
		if sc.Capabilities != nil && slices.Contains(sc.Capabilities.Add, "CAP_SYS_ADMIN") {
			errs = append(errs, field.Invalid(at, sc, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
		}
	}
	return errs
}

func validateSysctls(list []corev1.Sysctl, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := make(seen[string], len(list))
	for i, s := range list {
		here := at.Index(i).Child("name")
		switch {
		case s.Name == "":
			errs = append(errs, field.Required(here, ""))
		case !sysctlName(s.Name):
			errs = append(errs, field.Invalid(here, s.Name, fmt.Sprintf("must have at most %d characters and be segments of lower-case letters, digits, '-' and '_', separated by '.' or '/'", maxSysctl)))
		default:
			errs = append(errs, names.add(s.Name, here)...)
		}
	}
	return errs
}

// sysctlName wants segments that begin and end with a letter or a digit.
func sysctlName(name string) bool {
	if len(name) > maxSysctl {
		return false
	}
	alphanumeric := func(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
	for segment := range strings.SplitSeq(strings.ReplaceAll(name, "/", "."), ".") {
		if segment == "" || !alphanumeric(segment[0]) || !alphanumeric(segment[len(segment)-1]) {
			return false
		}
		for i := range len(segment) {
			if c := segment[i]; !alphanumeric(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func validateSeccomp(p *corev1.SeccompProfile, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	switch local := p.LocalhostProfile; p.Type {
	case corev1.SeccompProfileTypeLocalhost:
		if local == nil {
			return field.ErrorList{field.Required(at.Child("localhostProfile"), "must be set when seccomp type is Localhost")}
		}
		return inside(*local, true, at.Child("localhostProfile"))
	case corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined:
		if local != nil {
			return field.ErrorList{field.Invalid(at.Child("localhostProfile"), *local, "can only be set when seccomp type is Localhost")}
		}
		return nil
	case "":
		return field.ErrorList{field.Required(at.Child("type"), "type is required when seccompProfile is set")}
	}
	return supported(p.Type, at.Child("type"), corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)
}

func validateAppArmor(p *corev1.AppArmorProfile, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	here := at.Child("localhostProfile")
	switch local := p.LocalhostProfile; p.Type {
	case corev1.AppArmorProfileTypeLocalhost:
		switch {
		case local == nil || *local == "":
			return field.ErrorList{field.Required(here, "must be set when AppArmor type is Localhost")}
		case strings.TrimSpace(*local) != *local:
			return field.ErrorList{field.Invalid(here, *local, "must not be padded with whitespace")}
		case len(*local) > maxProfile:
			return field.ErrorList{field.TooLong(here, "", maxProfile)}
		}
		return nil
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if local != nil {
			return field.ErrorList{field.Invalid(here, *local, "can only be set when AppArmor type is Localhost")}
		}
		return nil
	case "":
		return field.ErrorList{field.Required(at.Child("type"), "type is required when appArmorProfile is set")}
	}
	return supported(p.Type, at.Child("type"), corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)
}

// validateOS refuses what the operating system that a pod names does not have.
func validateOS(s *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	refuse := func(on string, at *field.Path, given map[string]bool) {
		for name, is := range given {
			if is {
				errs = append(errs, field.Forbidden(at.Child(name), "cannot be set for a "+on+" pod"))
			}
		}
	}
	all := func(visit func(sc *corev1.SecurityContext, at *field.Path)) {
		for _, l := range []struct {
			name string
			list []corev1.Container
		}{{"initContainers", s.InitContainers}, {"containers", s.Containers}} {
			for i := range l.list {
				if sc := l.list[i].SecurityContext; sc != nil {
					visit(sc, at.Child(l.name).Index(i).Child("securityContext"))
				}
			}
		}
	}
	switch s.OS.Name {
	case "":
		return field.ErrorList{field.Required(at.Child("os", "name"), "")}
	case corev1.Linux:
		if s.SecurityContext != nil {
			refuse("linux", at.Child("securityContext"), map[string]bool{"windowsOptions": s.SecurityContext.WindowsOptions != nil})
		}
		all(func(sc *corev1.SecurityContext, at *field.Path) {
			refuse("linux", at, map[string]bool{"windowsOptions": sc.WindowsOptions != nil})
		})
	case corev1.Windows:
		if sc := s.SecurityContext; sc != nil {
			refuse("windows", at.Child("securityContext"), map[string]bool{
				"appArmorProfile": sc.AppArmorProfile != nil, "seLinuxOptions": sc.SELinuxOptions != nil, "seccompProfile": sc.SeccompProfile != nil, "fsGroup": sc.FSGroup != nil,
				"fsGroupChangePolicy": sc.FSGroupChangePolicy != nil, "sysctls": len(sc.Sysctls) > 0, "runAsUser": sc.RunAsUser != nil, "runAsGroup": sc.RunAsGroup != nil,
				"supplementalGroups": sc.SupplementalGroups != nil, "supplementalGroupsPolicy": sc.SupplementalGroupsPolicy != nil,
			})
		}
		refuse("windows", at, map[string]bool{"hostUsers": s.HostUsers != nil, "hostPID": s.HostPID, "hostIPC": s.HostIPC, "shareProcessNamespace": s.ShareProcessNamespace != nil})
		all(func(sc *corev1.SecurityContext, at *field.Path) {
			refuse("windows", at, map[string]bool{
				"appArmorProfile": sc.AppArmorProfile != nil, "seLinuxOptions": sc.SELinuxOptions != nil, "seccompProfile": sc.SeccompProfile != nil, "capabilities": sc.Capabilities != nil,
				"readOnlyRootFilesystem": sc.ReadOnlyRootFilesystem != nil, "privileged": sc.Privileged != nil, "allowPrivilegeEscalation": sc.AllowPrivilegeEscalation != nil,
				"procMount": sc.ProcMount != nil, "runAsUser": sc.RunAsUser != nil, "runAsGroup": sc.RunAsGroup != nil,
			})
		})
	default:
		errs = append(errs, supported(s.OS.Name, at.Child("os"), corev1.Linux, corev1.Windows)...)
	}
	return errs
}

// validateResourceClaimsOf checks the claims of a pod and that its containers use no others.
func validateResourceClaimsOf(s *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := make(seen[string], len(s.ResourceClaims))
	for i, c := range s.ResourceClaims {
		here := at.Child("resourceClaims").Index(i)
		errs = append(errs, needName(c.Name, here.Child("name"), dnsLabel)...)
		if c.Name != "" {
			errs = append(errs, names.add(c.Name, here.Child("name"))...)
		}
		switch {
		case c.ResourceClaimName != nil && c.ResourceClaimTemplateName != nil:
			errs = append(errs, field.Invalid(here, c, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"))
		case c.ResourceClaimName == nil && c.ResourceClaimTemplateName == nil:
			errs = append(errs, field.Invalid(here, c, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
		case c.ResourceClaimName != nil:
			errs = append(errs, checkName(*c.ResourceClaimName, here.Child("resourceClaimName"), dnsSubdomain)...)
		default:
			errs = append(errs, checkName(*c.ResourceClaimTemplateName, here.Child("resourceClaimTemplateName"), dnsSubdomain)...)
		}
	}
	for _, l := range []struct {
		name string
		list []corev1.Container
	}{{"initContainers", s.InitContainers}, {"containers", s.Containers}} {
		for i := range l.list {
			for j, c := range l.list[i].Resources.Claims {
				here := at.Child(l.name).Index(i).Child("resources", "claims").Index(j)
				if _, ok := names[c.Name]; c.Name == "" {
					errs = append(errs, field.Required(here, ""))
				} else if !ok {
					errs = append(errs, field.NotFound(here, c.Name))
				}
			}
		}
	}
	return errs
}

// validateResizePolicies checks how a container takes changes of its resources.
func validateResizePolicies(list []corev1.ContainerResizePolicy, restart corev1.RestartPolicy, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	resources := make(seen[corev1.ResourceName], len(list))
	for i, p := range list {
		errs = append(errs, resources.add(p.ResourceName, at.Index(i))...)
		errs = append(errs, oneOf(p.ResourceName, at, corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, oneOf(p.RestartPolicy, at, corev1.NotRequired, corev1.RestartContainer)...)
		if restart == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			errs = append(errs, field.Invalid(at, p.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"))
		}
	}
	return errs
}

// devices checks the block devices of a container, which has the paths of its mounts already.
func (s *podScope) devices(c *corev1.Container, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names, paths := make(map[string]bool), make(map[string]bool)
	mounted := func(is func(corev1.VolumeMount) bool) bool { return slices.ContainsFunc(c.VolumeMounts, is) }
	for i, d := range c.VolumeDevices {
		here := at.Index(i)
		v := s.volumes[d.Name]
		switch {
		case d.Name == "":
			errs = append(errs, field.Required(here.Child("name"), ""))
		case v == nil:
			errs = append(errs, field.NotFound(here.Child("name"), d.Name))
		case v.PersistentVolumeClaim == nil && v.Ephemeral == nil:
			errs = append(errs, field.Invalid(here.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"))
		}
		if names[d.Name] {
			errs = append(errs, field.Invalid(here.Child("name"), d.Name, "must be unique"))
		}
		switch {
		case d.DevicePath == "":
			errs = append(errs, field.Required(here.Child("devicePath"), ""))
		case paths[d.DevicePath]:
			errs = append(errs, field.Invalid(here.Child("devicePath"), d.DevicePath, "must be unique"))
		case len(noDots(d.DevicePath, here)) > 0:
			errs = append(errs, field.Invalid(here.Child("devicePath"), d.DevicePath, "can not contain backsteps ('..')"))
		}
		names[d.Name], paths[d.DevicePath] = true, true
		if mounted(func(m corev1.VolumeMount) bool { return m.Name == d.Name }) {
			errs = append(errs, field.Invalid(here.Child("name"), d.Name, "must not already exist in volumeMounts"))
		}
		if mounted(func(m corev1.VolumeMount) bool { return m.MountPath == d.DevicePath }) {
			errs = append(errs, field.Invalid(here.Child("devicePath"), d.DevicePath, "must not already exist as a path in volumeMounts"))
		}
	}
	return errs
}

// activeDeadline checks how long a pod may run, in seconds.
func activeDeadline(n *int64, at *field.Path) field.ErrorList {
	if n == nil || *n >= 1 && *n <= math.MaxInt32 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, *n, validation.InclusiveRangeError(1, math.MaxInt32))}
}
