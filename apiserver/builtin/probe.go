package builtin

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateProbe checks one probe; once says that success needs exactly one answer, as for liveness and startup.
func validateProbe(p *corev1.Probe, once bool, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := validateHandler(corev1.LifecycleHandler{Exec: p.Exec, HTTPGet: p.HTTPGet, TCPSocket: p.TCPSocket}, p.GRPC, at)
	errs = append(errs, notNegative(p.InitialDelaySeconds, at.Child("initialDelaySeconds"))...)
	errs = append(errs, atLeast(p.TimeoutSeconds, 1, at.Child("timeoutSeconds"))...)
	errs = append(errs, atLeast(p.PeriodSeconds, 1, at.Child("periodSeconds"))...)
	errs = append(errs, atLeast(p.SuccessThreshold, 1, at.Child("successThreshold"))...)
	errs = append(errs, atLeast(p.FailureThreshold, 1, at.Child("failureThreshold"))...)
	if once && p.SuccessThreshold > 1 {
		errs = append(errs, field.Invalid(at.Child("successThreshold"), p.SuccessThreshold, "must be 1"))
	}
	if g := p.TerminationGracePeriodSeconds; g != nil {
		if !once {
			errs = append(errs, field.Invalid(at.Child("terminationGracePeriodSeconds"), *g, "must not be set for readinessProbes"))
		} else {
			errs = append(errs, atLeast(*g, 1, at.Child("terminationGracePeriodSeconds"))...)
		}
	}
	return errs
}

// validateHandler wants exactly one action.
func validateHandler(h corev1.LifecycleHandler, grpc *corev1.GRPCAction, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	count := 0
	another := func(name string) *field.Path {
		if count++; count > 1 {
			errs = append(errs, field.Forbidden(at.Child(name), "may not specify more than 1 handler type"))
		}
		return at.Child(name)
	}
	if h.Exec != nil {
		if here := another("exec"); len(h.Exec.Command) == 0 {
			errs = append(errs, field.Required(here.Child("command"), ""))
		}
	}
	if h.HTTPGet != nil {
		errs = append(errs, validateHTTPGet(h.HTTPGet, another("httpGet"))...)
	}
	if h.TCPSocket != nil {
		errs = append(errs, targetPort(h.TCPSocket.Port, another("tcpSocket").Child("port"))...)
	}
	if grpc != nil {
		errs = append(errs, portNumber(grpc.Port, another("grpc").Child("port"))...)
	}
	if h.Sleep != nil {
		errs = append(errs, notNegative(h.Sleep.Seconds, another("sleep").Child("seconds"))...)
	}
	if count == 0 {
		errs = append(errs, field.Required(at, "must specify a handler type"))
	}
	return errs
}

func validateHTTPGet(a *corev1.HTTPGetAction, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if a.Path == "" {
		errs = append(errs, field.Required(at.Child("path"), ""))
	} else if strings.ContainsAny(a.Path, "\r\n") {
		errs = append(errs, field.Invalid(at.Child("path"), a.Path, "must be one line"))
	}
	errs = append(errs, targetPort(a.Port, at.Child("port"))...)
	errs = append(errs, oneOf(a.Scheme, at.Child("scheme"), corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
	for i, h := range a.HTTPHeaders {
		for _, msg := range validation.IsHTTPHeaderName(h.Name) {
			errs = append(errs, field.Invalid(at.Child("httpHeaders").Index(i), h.Name, msg))
		}
	}
	return errs
}

// targetPort is a number or the name of a port.
func targetPort(p intstr.IntOrString, at *field.Path) field.ErrorList {
	if p.Type == intstr.Int {
		return portNumber(p.IntVal, at)
	}
	return checkName(p.StrVal, at, validation.IsValidPortName)
}
