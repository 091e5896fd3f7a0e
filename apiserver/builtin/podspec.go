package builtin

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validatePodSpec checks what a pod and a pod template have in common.
func validatePodSpec(s *corev1.PodSpec, at *field.Path) field.ErrorList {
	volumes, errs := validateVolumes(s.Volumes, at.Child("volumes"))
	scope := &podScope{volumes: volumes, names: make(seen[string]), hostPorts: make(seen[string]), hostUsers: s.HostUsers == nil || *s.HostUsers, restart: s.RestartPolicy, grace: s.TerminationGracePeriodSeconds}
	errs = append(errs, scope.containers(s, at)...)
	errs = append(errs, oneOf(s.RestartPolicy, at.Child("restartPolicy"), corev1.RestartPolicyAlways, corev1.RestartPolicyNever, corev1.RestartPolicyOnFailure)...)
	errs = append(errs, validateDNS(s, at)...)
	errs = append(errs, mayName(s.ServiceAccountName, at.Child("serviceAccountName"), dnsSubdomain)...)
	errs = append(errs, mayName(s.NodeName, at.Child("nodeName"), dnsSubdomain)...)
	errs = append(errs, mayName(s.SchedulerName, at.Child("schedulerName"), dnsSubdomain)...)
	errs = append(errs, mayName(s.PriorityClassName, at.Child("priorityClassName"), dnsSubdomain)...)
	errs = append(errs, mayName(s.Hostname, at.Child("hostname"), dnsLabel)...)
	errs = append(errs, mayName(s.Subdomain, at.Child("subdomain"), dnsLabel)...)
	errs = append(errs, mayName(deref(s.RuntimeClassName), at.Child("runtimeClassName"), dnsSubdomain)...)
	errs = append(errs, metav1validation.ValidateLabels(s.NodeSelector, at.Child("nodeSelector"))...)
	errs = append(errs, validateAffinity(s.Affinity, at.Child("affinity"))...)
	errs = append(errs, validateTolerations(s.Tolerations, at.Child("tolerations"))...)
	errs = append(errs, validateSpread(s.TopologySpreadConstraints, at.Child("topologySpreadConstraints"))...)
	errs = append(errs, validateQuantities(s.Overhead, at.Child("overhead"))...)
	if s.Resources != nil {
		errs = append(errs, validateResources(*s.Resources, at.Child("resources"))...)
	}
	errs = append(errs, activeDeadline(s.ActiveDeadlineSeconds, at.Child("activeDeadlineSeconds"))...)
	if s.TerminationGracePeriodSeconds != nil {
		errs = append(errs, notNegative(*s.TerminationGracePeriodSeconds, at.Child("terminationGracePeriodSeconds"))...)
	}
	if s.PreemptionPolicy != nil {
		errs = append(errs, oneOf(*s.PreemptionPolicy, at.Child("preemptionPolicy"), corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	for i, ref := range s.ImagePullSecrets {
		errs = append(errs, mayName(ref.Name, at.Child("imagePullSecrets").Index(i).Child("name"), dnsSubdomain)...)
	}
	gates := make(seen[string], len(s.SchedulingGates))
	for i, g := range s.SchedulingGates {
		here := at.Child("schedulingGates").Index(i)
		errs = append(errs, needName(g.Name, here, validation.IsQualifiedName)...)
		errs = append(errs, gates.add(g.Name, here)...)
	}
	for i, g := range s.ReadinessGates {
		errs = append(errs, checkName(string(g.ConditionType), at.Child("readinessGates").Index(i).Child("conditionType"), validation.IsQualifiedName)...)
	}
	for i, a := range s.HostAliases {
		here := at.Child("hostAliases").Index(i)
		errs = append(errs, validation.IsValidIP(here.Child("ip"), a.IP)...)
		for j, name := range a.Hostnames {
			errs = append(errs, checkName(name, here.Child("hostnames").Index(j), dnsSubdomain)...)
		}
	}
	return append(errs, validateHostAccess(s, at)...)
}

func validateHostAccess(s *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.HostNetwork {
		for i, c := range s.Containers {
			for j, p := range c.Ports {
				if p.HostPort != p.ContainerPort {
					errs = append(errs, field.Invalid(at.Child("containers").Index(i).Child("ports").Index(j).Child("hostPort"), p.HostPort, "must match `containerPort` when `hostNetwork` is true"))
				}
			}
		}
	}
	errs = append(errs, validatePodSecurity(s, at)...)
	errs = append(errs, validateResourceClaimsOf(s, at)...)
	return errs
}

// How much a pod may add to its resolver configuration. Source: Kubernetes documentation, DNS for Services and Pods.
const (
	maxNameservers = 3
	maxSearches    = 32
	maxSearchText  = 2048 // characters, with the spaces between
)

func validateDNS(s *corev1.PodSpec, at *field.Path) field.ErrorList {
	errs := oneOf(s.DNSPolicy, at.Child("dnsPolicy"), corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)
	servers := at.Child("dnsConfig", "nameservers")
	var c corev1.PodDNSConfig
	if s.DNSConfig != nil {
		c = *s.DNSConfig
	}
	switch {
	case s.DNSPolicy == corev1.DNSNone && s.DNSConfig == nil:
		return append(errs, field.Required(at.Child("dnsConfig"), fmt.Sprintf("must provide `dnsConfig` when `dnsPolicy` is %s", corev1.DNSNone)))
	case s.DNSPolicy == corev1.DNSNone && len(c.Nameservers) == 0:
		return append(errs, field.Required(servers, fmt.Sprintf("must provide at least one DNS nameserver when `dnsPolicy` is %s", corev1.DNSNone)))
	}
	if len(c.Nameservers) > maxNameservers {
		errs = append(errs, field.Invalid(servers, c.Nameservers, fmt.Sprintf("must not have more than %d nameservers", maxNameservers)))
	}
	for i, ip := range c.Nameservers {
		errs = append(errs, validation.IsValidIP(servers.Index(i), ip)...)
	}
	if len(c.Searches) > maxSearches {
		errs = append(errs, field.Invalid(at.Child("dnsConfig", "searches"), c.Searches, fmt.Sprintf("must not have more than %d search paths", maxSearches)))
	}
	searches := at.Child("dnsConfig", "searches")
	if len(strings.Join(c.Searches, " ")) > maxSearchText {
		errs = append(errs, field.Invalid(searches, c.Searches, fmt.Sprintf("must not have more than %d characters (including spaces) in the search list", maxSearchText)))
	}
	for i, name := range c.Searches {
		if name != "." {
			errs = append(errs, checkName(strings.TrimSuffix(name, "."), searches.Index(i), underscored)...)
		}
	}
	for i, o := range c.Options {
		if o.Name == "" {
			errs = append(errs, field.Required(at.Child("dnsConfig", "options").Index(i), "must not be empty"))
		}
	}
	return errs
}

// underscored is a DNS subdomain whose labels may hold underscores, as names of services in DNS do.
func underscored(name string) []string { return validation.IsDNS1123SubdomainWithUnderscore(name) }

// validateTemplate checks a pod template against the selector of what makes pods from it.
func validateTemplate(t *corev1.PodTemplateSpec, selector *metav1.LabelSelector, at *field.Path) field.ErrorList {
	errs := metav1validation.ValidateLabels(t.Labels, at.Child("metadata", "labels"))
	if parsed, err := metav1.LabelSelectorAsSelector(selector); err == nil && selector != nil && !parsed.Empty() && !parsed.Matches(labels.Set(t.Labels)) {
		errs = append(errs, field.Invalid(at.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`"))
	}
	if len(t.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(at.Child("spec", "ephemeralContainers"), "ephemeral containers are not allowed in pod templates"))
	}
	return append(errs, validatePodSpec(&t.Spec, at.Child("spec"))...)
}

// validateSelector wants a selector that is there and well-formed.
func validateSelector(s *metav1.LabelSelector, at *field.Path) field.ErrorList {
	if s == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	return wellFormed(s, at)
}

// validateSelectorOf wants one that does not select every pod of the namespace, too. owner is the kind as the error calls it.
func validateSelectorOf(owner string, s *metav1.LabelSelector, at *field.Path) field.ErrorList {
	errs := validateSelector(s, at)
	if s != nil && len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(at, s, "empty selector is invalid for "+owner))
	}
	return errs
}

// wellFormed checks a selector that may be left out.
func wellFormed(s *metav1.LabelSelector, at *field.Path) field.ErrorList {
	return metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, at)
}

// podSpecWarnings finds what is valid and yet rarely meant.
func podSpecWarnings(s *corev1.PodSpec, at *field.Path) []string {
	var out []string
	warn := func(p *field.Path, format string, args ...any) {
		out = append(out, p.String()+": "+fmt.Sprintf(format, args...))
	}
	lists := []struct {
		name string
		list []corev1.Container
	}{{"initContainers", s.InitContainers}, {"containers", s.Containers}}
	for _, l := range lists {
		for i, c := range l.list {
			here := at.Child(l.name).Index(i)
			names := make(map[string]bool, len(c.Env))
			for j, e := range c.Env {
				if names[e.Name] {
					warn(here.Child("env").Index(j), "hides previous definition of %q, which may be dropped when using apply", e.Name)
				}
				names[e.Name] = true
			}
			type listener struct {
				port     int32
				protocol corev1.Protocol
			}
			ports := make(map[listener]int, len(c.Ports))
			for j, p := range c.Ports {
				key := listener{p.ContainerPort, p.Protocol}
				if first, ok := ports[key]; ok {
					warn(here.Child("ports").Index(j), "duplicate port definition with %s", here.Child("ports").Index(first))
					continue
				}
				ports[key] = j
			}
			for _, r := range []struct {
				name string
				list corev1.ResourceList
			}{{"requests", c.Resources.Requests}, {"limits", c.Resources.Limits}} {
				if q, ok := r.list[corev1.ResourceMemory]; ok && q.MilliValue()%1000 != 0 {
					warn(here.Child("resources", r.name).Key("memory"), "fractional byte value %q is invalid, must be an integer", q.String())
				}
			}
		}
	}
	if s.DeprecatedServiceAccount != "" && s.DeprecatedServiceAccount != s.ServiceAccountName {
		warn(at.Child("serviceAccount"), "deprecated, use spec.serviceAccountName instead")
	}
	return out
}
