package builtin

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/admission"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

type csr = certificatesv1.CertificateSigningRequest

func certificateSigningRequests() behaviour[*csr] {
	return behaviour[*csr]{
		prepare: func(r, old *csr) {
			if old != nil {
				r.Spec = *old.Spec.DeepCopy() // what was asked for stays as it was asked for
			}
		},
		prepareStatus:  func(r, old *csr) { prepareRequestStatus(r, old) },
		name:           anyName,
		validate:       func(r, old *csr) field.ErrorList { return validateRequest(r, old, false, false) },
		validateStatus: func(r, old *csr) field.ErrorList { return validateRequest(r, old, false, true) },
		status:         true,
		generation:     kind.GenerationNever,
		parts: map[string]kind.Part{
			"approval": part(takeApproval, func(r, old *csr) field.ErrorList { return validateRequest(r, old, true, false) }),
		},
		fields: map[string]func(*csr) string{
			"spec.signerName": func(r *csr) string { return r.Spec.SignerName },
		},
		columns: []kind.Column{
			nameColumn(),
			ageColumn(),
			text("SignerName", "Who is asked to sign", func(r *csr) string { return orNone(r.Spec.SignerName) }),
			text("Requestor", "Who asks", func(r *csr) string { return r.Spec.Username }),
			text("RequestedDuration", "How long the certificate should be valid", func(r *csr) string {
				if r.Spec.ExpirationSeconds == nil {
					return none
				}
				return duration.HumanDuration(time.Duration(*r.Spec.ExpirationSeconds) * time.Second)
			}),
			text("Condition", "Whether it is approved and signed", requestState),
		},
	}
}

// Requester is the admission plugin that writes into a new certificate signing request who asks.
func Requester() admission.Plugin {
	return admission.Plugin{Name: "CertificateRequester", Mutate: func(_ context.Context, r *admission.Request) error {
		req, ok := r.Object.(*csr)
		if !ok || r.Verb != client.Create || r.Subresource != "" {
			return nil
		}
		req.Spec.Username, req.Spec.UID, req.Spec.Groups, req.Spec.Extra = r.User.Name, r.User.UID, slices.Clone(r.User.Groups), nil
		for key, values := range r.User.Extra {
			if req.Spec.Extra == nil {
				req.Spec.Extra = make(map[string]certificatesv1.ExtraValue, len(r.User.Extra))
			}
			req.Spec.Extra[key] = slices.Clone(values)
		}
		return nil
	}}
}

func anyName(string) []string { return nil }

// takeApproval lets the approval subresource write the conditions, and nothing else.
func takeApproval(into, from *csr) {
	before := into.DeepCopy()
	into.Status.Conditions = from.DeepCopy().Status.Conditions
	stampConditions(into, before)
}

// prepareRequestStatus lets a signer write everything but who approved or denied: those conditions stay as they were.
func prepareRequestStatus(r, old *csr) {
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		now, before := conditionsOf(r, t), conditionsOf(old, t)
		if len(now) != len(before) {
			continue // which validation reports
		}
		for i := range now {
			*now[i] = *before[i]
		}
	}
	stampConditions(r, old)
}

func stampConditions(r, old *csr) {
	at := metav1.Now().Rfc3339Copy()
	for i := range r.Status.Conditions {
		c := &r.Status.Conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = at
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = at
		for _, b := range old.Status.Conditions {
			if b.Type == c.Type && b.Status == c.Status && !b.LastTransitionTime.IsZero() {
				c.LastTransitionTime = b.LastTransitionTime
				break
			}
		}
	}
}

func conditionsOf(r *csr, t certificatesv1.RequestConditionType) []*certificatesv1.CertificateSigningRequestCondition {
	var out []*certificatesv1.CertificateSigningRequestCondition
	for i := range r.Status.Conditions {
		if r.Status.Conditions[i].Type == t {
			out = append(out, &r.Status.Conditions[i])
		}
	}
	return out
}

// validateRequest checks a request; mayApprove and mayIssue say what the subresource may change.
func validateRequest(r, old *csr, mayApprove, mayIssue bool) field.ErrorList {
	at, s := field.NewPath("spec"), &r.Spec
	var errs field.ErrorList
	if old == nil {
		if err := signedRequest(s.Request); err != nil {
			errs = append(errs, field.Invalid(at.Child("request"), s.Request, err.Error()))
		}
		errs = append(errs, validateUsages(s.Usages, at.Child("usages"))...)
		if s.SignerName == "kubernetes.io/legacy-unknown" {
			errs = append(errs, field.Invalid(at.Child("signerName"), s.SignerName, "the legacy signerName is not allowed via this API version"))
		} else {
			errs = append(errs, signerName(s.SignerName, at.Child("signerName"))...)
		}
		if n := s.ExpirationSeconds; n != nil && *n < minTokenLifetime {
			errs = append(errs, field.Invalid(at.Child("expirationSeconds"), *n, "may not specify a duration less than 600 seconds (10 minutes)"))
		}
	}
	errs = append(errs, validateRequestConditions(r, field.NewPath("status", "conditions"))...)
	if err := certificates(r.Status.Certificate); err != nil {
		errs = append(errs, field.Invalid(field.NewPath("status", "certificate"), "<certificate data>", err.Error()))
	}
	if old != nil {
		errs = append(errs, validateRequestUpdate(r, old, mayApprove, mayIssue)...)
	}
	return errs
}

func validateRequestUpdate(r, old *csr, mayApprove, mayIssue bool) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("status", "conditions")
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		now, before := conditionsOf(r, t), conditionsOf(old, t)
		switch {
		case len(now) < len(before):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("updates may not remove a condition of type %q", t)))
		case mayApprove || t == certificatesv1.CertificateFailed:
		case len(now) > len(before):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("updates may not add a condition of type %q", t)))
		case !same(now, before):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("updates may not modify a condition of type %q", t)))
		}
	}
	if !bytes.Equal(r.Status.Certificate, old.Status.Certificate) {
		at := field.NewPath("status", "certificate")
		if !mayIssue {
			errs = append(errs, field.Forbidden(at, "updates may not set certificate content"))
		} else if len(old.Status.Certificate) > 0 {
			errs = append(errs, field.Forbidden(at, "updates may not modify existing certificate content"))
		}
	}
	return errs
}

func validateRequestConditions(r *csr, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	types := make(seen[certificatesv1.RequestConditionType], len(r.Status.Conditions))
	for i, c := range r.Status.Conditions {
		here := at.Index(i)
		if c.Type == "" {
			errs = append(errs, field.Required(here.Child("type"), ""))
		}
		states := []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
		switch c.Type {
		case certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
			states = states[1:2] // what happened does not unhappen
		}
		errs = append(errs, oneOf(c.Status, here.Child("status"), states...)...)
		errs = append(errs, types.add(c.Type, here.Child("type"))...)
	}
	if len(conditionsOf(r, certificatesv1.CertificateApproved)) > 0 && len(conditionsOf(r, certificatesv1.CertificateDenied)) > 0 {
		errs = append(errs, field.Invalid(at, certificatesv1.CertificateDenied, "Approved and Denied conditions are mutually exclusive"))
	}
	return errs
}

// usages are what a certificate may be for. Source: k8s.io/api, certificates/v1.
func usages() []certificatesv1.KeyUsage {
	return []certificatesv1.KeyUsage{
		certificatesv1.UsageAny, certificatesv1.UsageCRLSign, certificatesv1.UsageCertSign, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
		certificatesv1.UsageContentCommitment, certificatesv1.UsageDataEncipherment, certificatesv1.UsageDecipherOnly, certificatesv1.UsageDigitalSignature,
		certificatesv1.UsageEmailProtection, certificatesv1.UsageEncipherOnly, certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel,
		certificatesv1.UsageIPsecUser, certificatesv1.UsageKeyAgreement, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageMicrosoftSGC,
		certificatesv1.UsageNetscapeSGC, certificatesv1.UsageOCSPSigning, certificatesv1.UsageSMIME, certificatesv1.UsageServerAuth,
		certificatesv1.UsageSigning, certificatesv1.UsageTimestamping,
	}
}

func validateUsages(list []certificatesv1.KeyUsage, at *field.Path) field.ErrorList {
	if len(list) == 0 {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	twice := make(seen[certificatesv1.KeyUsage], len(list))
	for i, u := range list {
		errs = append(errs, supported(u, at.Index(i), usages()...)...)
		errs = append(errs, twice.add(u, at.Index(i))...)
	}
	return errs
}

// signerName wants a domain and a path: example.com/signer. Source: Kubernetes documentation, Certificate Signing Requests.
func signerName(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	domain, path, ok := strings.Cut(name, "/")
	if !ok || strings.Contains(path, "/") {
		return field.ErrorList{field.Invalid(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")}
	}
	var errs field.ErrorList
	for _, msg := range validation.IsDNS1123Subdomain(domain) {
		errs = append(errs, field.Invalid(at, domain, fmt.Sprintf("validating label %q: %s", domain, msg)))
	}
	if strings.Count(domain, ".") < 1 {
		errs = append(errs, field.Invalid(at, domain, "should be a domain with at least two segments separated by dots"))
	}
	for _, label := range strings.Split(path, ".") {
		for _, msg := range validation.IsDNS1123Label(label) {
			errs = append(errs, field.Invalid(at, path, fmt.Sprintf("validating label %q: %s", label, msg)))
		}
	}
	const longest = validation.DNS1123SubdomainMaxLength + 1 + validation.DNS1123SubdomainMaxLength + 1 + 63
	if len(name) > longest {
		errs = append(errs, field.TooLong(at, "", longest))
	}
	return errs
}

func signedRequest(data []byte) error {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	return parsed.CheckSignature()
}

// certificates checks PEM data that may be empty.
func certificates(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	blocks := 0
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		blocks++
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) > 0 {
			return errors.New("no PEM block headers are permitted")
		}
		list, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
	}
	if blocks == 0 {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}

func requestState(r *csr) string {
	state := "Pending"
	if len(conditionsOf(r, certificatesv1.CertificateDenied)) > 0 {
		state = "Denied"
	} else if len(conditionsOf(r, certificatesv1.CertificateApproved)) > 0 {
		state = "Approved"
	}
	if len(conditionsOf(r, certificatesv1.CertificateFailed)) > 0 {
		state += ",Failed"
	}
	if len(r.Status.Certificate) > 0 {
		state += ",Issued"
	}
	return state
}

func clusterTrustBundles() behaviour[*certificatesv1.ClusterTrustBundle] {
	return behaviour[*certificatesv1.ClusterTrustBundle]{
		name:     bundleName,
		validate: validateTrustBundle,
		fields: map[string]func(*certificatesv1.ClusterTrustBundle) string{
			"spec.signerName": func(b *certificatesv1.ClusterTrustBundle) string { return b.Spec.SignerName },
		},
		columns: []kind.Column{
			nameColumn(),
			text("SignerName", "Whose certificates it verifies", func(b *certificatesv1.ClusterTrustBundle) string { return b.Spec.SignerName }),
		},
	}
}

// bundleName allows colons, which part a signer's name from the rest.
func bundleName(name string) []string { return dnsSubdomain(strings.ReplaceAll(name, ":", ".")) }

func validateTrustBundle(b, old *certificatesv1.ClusterTrustBundle) field.ErrorList {
	at := field.NewPath("spec")
	var errs field.ErrorList
	signer := b.Spec.SignerName
	prefix := strings.ReplaceAll(signer, "/", ":") + ":"
	switch {
	case signer != "" && !strings.HasPrefix(b.Name, prefix):
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), b.Name, fmt.Sprintf("ClusterTrustBundle for signerName %s must be named with prefix %s", signer, prefix)))
	case signer == "" && strings.Contains(b.Name, ":"):
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), b.Name, "ClusterTrustBundle without signer name must not have \":\" in its name"))
	}
	if signer != "" {
		errs = append(errs, signerName(signer, at.Child("signerName"))...)
	}
	switch err := certificates([]byte(b.Spec.TrustBundle)); {
	case old != nil && old.Spec.TrustBundle == b.Spec.TrustBundle:
	case b.Spec.TrustBundle == "":
		errs = append(errs, field.Invalid(at.Child("trustBundle"), "<value omitted>", "at least one trust anchor must be provided"))
	case err != nil:
		errs = append(errs, field.Invalid(at.Child("trustBundle"), "<value omitted>", err.Error()))
	}
	if old != nil {
		errs = append(errs, immutable(signer, old.Spec.SignerName, at.Child("signerName"))...)
	}
	return errs
}

func podCertificateRequests() behaviour[*certificatesv1.PodCertificateRequest] {
	type request = certificatesv1.PodCertificateRequest
	return behaviour[*request]{
		defaults:   func(r *request) { setPtr(&r.Spec.MaxExpirationSeconds, 24*60*60) },
		validate:   validatePodRequest,
		status:     true,
		generation: kind.GenerationNever,
		fields: map[string]func(*request) string{
			"spec.signerName": func(r *request) string { return r.Spec.SignerName },
			"spec.podName":    func(r *request) string { return r.Spec.PodName },
			"spec.nodeName":   func(r *request) string { return string(r.Spec.NodeName) },
		},
		columns: []kind.Column{
			nameColumn(),
			text("PodName", "The pod that gets the certificate", func(r *request) string { return r.Spec.PodName }),
			text("ServiceAccountName", "Its service account", func(r *request) string { return r.Spec.ServiceAccountName }),
			text("NodeName", "Where it runs", func(r *request) string { return string(r.Spec.NodeName) }),
			text("SignerName", "Who is asked to sign", func(r *request) string { return r.Spec.SignerName }),
			text("State", "Whether it was signed", func(r *request) string {
				state := "Pending"
				for _, c := range r.Status.Conditions {
					switch c.Type {
					case certificatesv1.PodCertificateRequestConditionTypeIssued, certificatesv1.PodCertificateRequestConditionTypeDenied,
						certificatesv1.PodCertificateRequestConditionTypeFailed:
						state = c.Type
					}
				}
				return state
			}),
			wide("UnverifiedUserAnnotations", "What the pod tells the signer", func(r *request, _ time.Time) any {
				var parts []string
				for _, key := range slices.Sorted(maps.Keys(r.Spec.UnverifiedUserAnnotations)) {
					parts = append(parts, key+"="+r.Spec.UnverifiedUserAnnotations[key])
				}
				return orNone(strings.Join(parts, ","))
			}),
		},
	}
}

func validatePodRequest(r, old *certificatesv1.PodCertificateRequest) field.ErrorList {
	at, s := field.NewPath("spec"), &r.Spec
	if old != nil {
		return immutable(r.Spec, old.Spec, at)
	}
	errs := signerName(s.SignerName, at.Child("signerName"))
	errs = append(errs, needName(s.PodName, at.Child("podName"), dnsSubdomain)...)
	errs = append(errs, needName(s.ServiceAccountName, at.Child("serviceAccountName"), dnsSubdomain)...)
	errs = append(errs, needName(string(s.NodeName), at.Child("nodeName"), dnsSubdomain)...)
	for name, value := range sorted(map[string]string{"podUID": string(s.PodUID), "serviceAccountUID": string(s.ServiceAccountUID), "nodeUID": string(s.NodeUID)}) {
		if value == "" {
			errs = append(errs, field.Invalid(at.Child(name), value, "must not be empty"))
		} else if len(value) > maxUID {
			errs = append(errs, field.TooLong(at.Child(name), value, maxUID))
		}
	}
	longest := int32(91 * 24 * 60 * 60)
	if strings.HasPrefix(s.SignerName, "kubernetes.io/") || strings.Contains(s.SignerName, ".kubernetes.io/") {
		longest = 24 * 60 * 60
	}
	const shortest = 60 * 60
	if n := s.MaxExpirationSeconds; n == nil {
		errs = append(errs, field.Required(at.Child("maxExpirationSeconds"), "must be set"))
	} else if *n < shortest || *n > longest {
		errs = append(errs, field.Invalid(at.Child("maxExpirationSeconds"), *n, fmt.Sprintf("must be in the range [%d, %d]", shortest, longest)))
	}
	request, err := x509.ParseCertificateRequest(s.StubPKCS10Request)
	if err == nil {
		err = request.CheckSignature()
	}
	if err != nil {
		errs = append(errs, field.Invalid(at.Child("stubPKCS10Request"), field.OmitValueType{}, "must be a valid PKCS#10 certificate signing request: "+err.Error()))
	}
	return errs
}

const maxUID = 128 // bytes
