package crd

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/expr"
)

const (
	maxSelectableFields   = 8
	maxDeprecationWarning = 256
)

var specPath = field.NewPath("spec")

// validateDefinition reports what is wrong with a definition; old is nil on create. The rules and texts are those of
// apiextensions-apiserver, pkg/apis/apiextensions/validation.
func validateDefinition(env func() (*expr.Env, error), d, old *CustomResourceDefinition) field.ErrorList {
	var errs field.ErrorList
	if want := d.Spec.Names.Plural + "." + d.Spec.Group; d.Name != "" && d.Name != want {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), d.Name, `must be spec.names.plural+"."+spec.group`))
	}
	errs = append(errs, validateSpec(env, d, old)...)
	if old != nil {
		if isTrue(old, Established) {
			errs = append(errs, apivalidation.ValidateImmutableField(d.Spec.Scope, old.Spec.Scope, specPath.Child("scope"))...)
			errs = append(errs, apivalidation.ValidateImmutableField(d.Spec.Names.Kind, old.Spec.Names.Kind, specPath.Child("names", "kind"))...)
		}
		errs = append(errs, apivalidation.ValidateImmutableField(d.Spec.Group, old.Spec.Group, specPath.Child("group"))...)
		errs = append(errs, apivalidation.ValidateImmutableField(d.Spec.Names.Plural, old.Spec.Names.Plural, specPath.Child("names", "plural"))...)
	}
	errs = append(errs, validateStatus(d)...)
	errs = append(errs, validateApproval(d, old)...)
	if d.Spec.PreserveUnknownFields && (old == nil || !old.Spec.PreserveUnknownFields) {
		errs = append(errs, field.Invalid(specPath.Child("preserveUnknownFields"), true,
			"cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"))
	}
	return errs
}

// validateStatus checks what the status subresource may write.
func validateStatus(d *CustomResourceDefinition) field.ErrorList {
	at := field.NewPath("status")
	errs := validateNames(&d.Status.AcceptedNames, at.Child("acceptedNames"))
	at = at.Child("storedVersions")
	stored := d.Status.StoredVersions
	if len(stored) == 0 {
		return append(errs, field.Invalid(at, stored, "must have at least one stored version"))
	}
	for _, v := range d.Spec.Versions {
		if v.Storage && !slices.Contains(stored, v.Name) {
			errs = append(errs, field.Invalid(at, stored, "must have the storage version "+v.Name))
		}
	}
	for i, name := range stored {
		if !slices.ContainsFunc(d.Spec.Versions, func(v DefinitionVersion) bool { return v.Name == name }) {
			errs = append(errs, field.Invalid(at.Index(i), name, fmt.Sprintf("missing from spec.versions; %[1]s was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in %[1]s and removes %[1]s from status.storedVersions", name)))
		}
	}
	return errs
}

func validateSpec(env func() (*expr.Env, error), d, old *CustomResourceDefinition) (errs field.ErrorList) {
	s := &d.Spec
	switch msgs := validation.IsDNS1123Subdomain(s.Group); {
	case s.Group == "":
		errs = append(errs, field.Required(specPath.Child("group"), ""))
	case len(msgs) > 0:
		errs = append(errs, field.Invalid(specPath.Child("group"), s.Group, strings.Join(msgs, ",")))
	case !strings.Contains(s.Group, "."):
		errs = append(errs, field.Invalid(specPath.Child("group"), s.Group, "should be a domain with at least one dot"))
	}
	errs = append(errs, oneOf(specPath.Child("scope"), s.Scope, ClusterScoped, NamespaceScoped)...)
	for i, v := range s.Versions {
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			errs = append(errs, field.Required(specPath.Child("versions").Index(i).Child("schema").Child("openAPIV3Schema"), ""))
		}
	}
	storage := 0
	seen := map[string]bool{}
	unique := true
	for i := range s.Versions {
		v := &s.Versions[i]
		if v.Storage {
			storage++
		}
		unique = unique && !seen[v.Name]
		seen[v.Name] = true
		at := specPath.Child("versions").Index(i)
		if msgs := validation.IsDNS1035Label(v.Name); len(msgs) > 0 {
			errs = append(errs, field.Invalid(at.Child("name"), v.Name, strings.Join(msgs, ",")))
		}
		errs = append(errs, validateVersion(env, v, old, at)...)
	}
	if !unique {
		errs = append(errs, field.Invalid(specPath.Child("versions"), s.versionNames(), "must contain unique version names"))
	}
	if storage != 1 {
		errs = append(errs, field.Invalid(specPath.Child("versions"), s.versionNames(), "must have exactly one version marked as storage version"))
	}
	names := specPath.Child("names")
	for _, each := range []struct{ name, value string }{
		{"plural", s.Names.Plural}, {"singular", s.Names.Singular}, {"kind", s.Names.Kind}, {"listKind", s.Names.ListKind},
	} {
		if each.value == "" {
			errs = append(errs, field.Required(names.Child(each.name), ""))
		}
	}
	errs = append(errs, validateNames(&s.Names, names)...)
	return append(errs, validateConversion(d, old)...)
}

func (s *Spec) versionNames() []string {
	out := make([]string, len(s.Versions))
	for i, v := range s.Versions {
		out[i] = v.Name
	}
	return out
}

func oneOf(at *field.Path, value string, accepted ...string) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	if !slices.Contains(accepted, value) {
		return field.ErrorList{field.NotSupported(at, value, accepted)}
	}
	return nil
}

func validateVersion(env func() (*expr.Env, error), v *DefinitionVersion, old *CustomResourceDefinition, at *field.Path) (errs field.ErrorList) {
	for _, msg := range deprecationProblems(v) {
		errs = append(errs, field.Invalid(at.Child("deprecationWarning"), *v.DeprecationWarning, msg))
	}
	var before *JSONSchemaProps
	if old != nil {
		if was := old.Spec.version(v.Name); was != nil && was.Schema != nil {
			before = was.Schema.OpenAPIV3Schema
		}
	}
	if v.Schema != nil && v.Schema.OpenAPIV3Schema != nil {
		status := v.Subresources != nil && v.Subresources.Status != nil
		unchanged := before != nil && equality.Semantic.DeepEqual(before, v.Schema.OpenAPIV3Schema)
		if !unchanged { // what was accepted once stays acceptable
			errs = append(errs, validateSchema(env, v.Schema.OpenAPIV3Schema, status, at.Child("schema").Child("openAPIV3Schema"))...)
		}
	}
	errs = append(errs, validateSubresources(v.Subresources, at.Child("subresources"))...)
	for i := range v.AdditionalPrinterColumns {
		errs = append(errs, validateColumn(&v.AdditionalPrinterColumns[i], at.Child("additionalPrinterColumns").Index(i))...)
	}
	return append(errs, validateSelectable(v, at.Child("selectableFields"))...)
}

func (s *Spec) version(name string) *DefinitionVersion {
	for i := range s.Versions {
		if s.Versions[i].Name == name {
			return &s.Versions[i]
		}
	}
	return nil
}

func deprecationProblems(v *DefinitionVersion) (out []string) {
	if v.DeprecationWarning == nil {
		return nil
	}
	text := *v.DeprecationWarning
	if !v.Deprecated {
		return []string{"can only be set for deprecated versions"}
	}
	if len(text) > maxDeprecationWarning {
		out = append(out, "must be <= 256 characters long")
	}
	if text == "" {
		out = append(out, "must not be an empty string")
	}
	for i, r := range text {
		if !unicode.IsPrint(r) {
			out = append(out, fmt.Sprintf("must only contain printable UTF-8 characters; non-printable character found at index %d", i))
			break
		}
	}
	if !utf8.ValidString(text) {
		out = append(out, "must only contain printable UTF-8 characters")
	}
	return out
}

func validateNames(n *Names, at *field.Path) (errs field.ErrorList) {
	label := func(at *field.Path, value string) {
		if msgs := validation.IsDNS1035Label(value); value != "" && len(msgs) > 0 {
			errs = append(errs, field.Invalid(at, value, strings.Join(msgs, ",")))
		}
	}
	mixed := func(at *field.Path, value string) {
		if msgs := validation.IsDNS1035Label(strings.ToLower(value)); value != "" && len(msgs) > 0 {
			errs = append(errs, field.Invalid(at, value, "may have mixed case, but should otherwise match: "+strings.Join(msgs, ",")))
		}
	}
	label(at.Child("plural"), n.Plural)
	label(at.Child("singular"), n.Singular)
	mixed(at.Child("kind"), n.Kind)
	mixed(at.Child("listKind"), n.ListKind)
	for i, s := range n.ShortNames {
		if msgs := validation.IsDNS1035Label(s); len(msgs) > 0 {
			errs = append(errs, field.Invalid(at.Child("shortNames").Index(i), s, strings.Join(msgs, ",")))
		}
	}
	if n.Kind != "" && n.Kind == n.ListKind {
		errs = append(errs, field.Invalid(at.Child("listKind"), n.ListKind, "kind and listKind may not be the same"))
	}
	for i, s := range n.Categories {
		if msgs := validation.IsDNS1035Label(s); len(msgs) > 0 {
			errs = append(errs, field.Invalid(at.Child("categories").Index(i), s, strings.Join(msgs, ",")))
		}
	}
	return errs
}

func validateConversion(d, old *CustomResourceDefinition) (errs field.ErrorList) {
	c := d.Spec.Conversion
	if c == nil {
		return nil
	}
	at := specPath.Child("conversion")
	errs = oneOf(at.Child("strategy"), c.Strategy, NoneConverter, WebhookConverter)
	if c.Strategy != WebhookConverter {
		if c.Webhook != nil {
			errs = append(errs, field.Forbidden(at.Child("webhookClientConfig"), "should not be set when strategy is not set to Webhook"))
		}
		return errs
	}
	if d.Spec.PreserveUnknownFields {
		errs = append(errs, field.Invalid(at.Child("strategy"), c.Strategy, "must be None if spec.preserveUnknownFields is true"))
	}
	hook := at.Child("webhookClientConfig")
	if c.Webhook == nil || c.Webhook.ClientConfig == nil {
		errs = append(errs, field.Required(hook, "required when strategy is set to Webhook"))
	} else {
		cc := c.Webhook.ClientConfig
		switch {
		case (cc.URL == nil) == (cc.Service == nil):
			errs = append(errs, field.Required(hook, "exactly one of url or service is required"))
		case cc.URL != nil:
			errs = append(errs, validateWebhookURL(hook.Child("url"), *cc.URL)...)
		default:
			errs = append(errs, validateService(hook.Child("service"), cc.Service)...)
		}
		if len(cc.CABundle) > 0 && old != nil && isTrue(old, Established) && !validBundle(cc.CABundle) && !oldBundleInvalid(old) {
			errs = append(errs, field.Invalid(hook.Child("caBundle"), cc.CABundle, "unable to load root certificates: unable to parse bytes as PEM block"))
		}
	}
	var versions []string
	if c.Webhook != nil {
		versions = c.Webhook.ConversionReviewVersions
	}
	return append(errs, validateReviewVersions(versions, at.Child("conversionReviewVersions"))...)
}

func validateReviewVersions(versions []string, at *field.Path) (errs field.ErrorList) {
	if len(versions) == 0 {
		return field.ErrorList{field.Required(at, "")}
	}
	known := false
	for i, v := range versions {
		if slices.Contains(versions[:i], v) {
			errs = append(errs, field.Invalid(at.Index(i), v, "duplicate version"))
			continue
		}
		for _, msg := range validation.IsDNS1035Label(v) {
			errs = append(errs, field.Invalid(at.Index(i), v, msg))
		}
		known = known || v == "v1" || v == "v1beta1"
	}
	if !known {
		errs = append(errs, field.Invalid(at, versions, "must include at least one of v1, v1beta1"))
	}
	return errs
}

func validateWebhookURL(at *field.Path, text string) (errs field.ErrorList) {
	const form = "; desired format: https://host[/path]"
	u, err := url.Parse(text)
	if err != nil {
		return field.ErrorList{field.Required(at, "url must be a valid URL: "+err.Error()+form)}
	}
	bad := func(why string) { errs = append(errs, field.Invalid(at, text, why+form)) }
	if u.Scheme != "https" {
		errs = append(errs, field.Invalid(at, u.Scheme, "'https' is the only allowed URL scheme"+form))
	}
	if u.Host == "" {
		errs = append(errs, field.Invalid(at, u.Host, "host must be specified"+form))
	}
	if u.User != nil {
		errs = append(errs, field.Invalid(at, u.User.String(), "user information is not permitted in the URL"))
	}
	if u.Fragment != "" {
		bad("fragments are not permitted in the URL")
	}
	if u.RawQuery != "" {
		bad("query parameters are not permitted in the URL")
	}
	return errs
}

func validateService(at *field.Path, s *ServiceReference) (errs field.ErrorList) {
	if s.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), "service name is required"))
	}
	if s.Namespace == "" {
		errs = append(errs, field.Required(at.Child("namespace"), "service namespace is required"))
	}
	if s.Port != nil {
		if msgs := validation.IsValidPortNum(int(*s.Port)); len(msgs) > 0 {
			errs = append(errs, field.Invalid(at.Child("port"), *s.Port, "port is not valid: "+strings.Join(msgs, ", ")))
		}
	}
	if s.Path != nil && !strings.HasPrefix(*s.Path, "/") && *s.Path != "" {
		errs = append(errs, field.Invalid(at.Child("path"), *s.Path, "must start with a '/'"))
	}
	return errs
}

func validBundle(bundle []byte) bool {
	for rest := bundle; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return false
		}
		if _, err := x509.ParseCertificate(block.Bytes); block.Type == "CERTIFICATE" && err == nil {
			return true
		}
	}
}

func oldBundleInvalid(old *CustomResourceDefinition) bool {
	c := old.Spec.Conversion
	return c != nil && c.Webhook != nil && c.Webhook.ClientConfig != nil && len(c.Webhook.ClientConfig.CABundle) > 0 && !validBundle(c.Webhook.ClientConfig.CABundle)
}

func validateSubresources(s *Subresources, at *field.Path) (errs field.ErrorList) {
	if s == nil || s.Scale == nil {
		return nil
	}
	path := func(name, value string, prefixes ...string) {
		at := at.Child("scale." + name)
		if problems := simplePath(value, at); len(problems) > 0 {
			errs = append(errs, problems...)
		} else if !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(value, p) }) {
			text := "should be a json path under " + strings.TrimSuffix(prefixes[0], ".")
			if len(prefixes) > 1 {
				text = "should be a json path under either .spec or .status"
			}
			errs = append(errs, field.Invalid(at, value, text))
		}
	}
	if s.Scale.SpecReplicasPath == "" {
		errs = append(errs, field.Required(at.Child("scale.specReplicasPath"), ""))
	} else {
		path("specReplicasPath", s.Scale.SpecReplicasPath, ".spec.")
	}
	if s.Scale.StatusReplicasPath == "" {
		errs = append(errs, field.Required(at.Child("scale.statusReplicasPath"), ""))
	} else {
		path("statusReplicasPath", s.Scale.StatusReplicasPath, ".status.")
	}
	if p := s.Scale.LabelSelectorPath; p != nil && *p != "" {
		path("labelSelectorPath", *p, ".spec.", ".status.")
	}
	return errs
}

func simplePath(s string, at *field.Path) field.ErrorList {
	switch {
	case s == "":
		return field.ErrorList{field.Invalid(at, s, "must not be empty")}
	case s[0] != '.':
		return field.ErrorList{field.Invalid(at, s, "must be a simple json path starting with .")}
	}
	return nil
}

func validateColumn(c *PrinterColumn, at *field.Path) (errs field.ErrorList) {
	types := []string{"boolean", "date", "integer", "number", "string"}
	formats := []string{"byte", "date", "date-time", "double", "float", "int32", "int64", "password"}
	if c.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	if c.Type == "" {
		errs = append(errs, field.Required(at.Child("type"), "must be one of "+strings.Join(types, ",")))
	} else if !slices.Contains(types, c.Type) {
		errs = append(errs, field.Invalid(at.Child("type"), c.Type, "must be one of "+strings.Join(types, ",")))
	}
	if c.Format != "" && !slices.Contains(formats, c.Format) {
		errs = append(errs, field.Invalid(at.Child("format"), c.Format, "must be one of "+strings.Join(formats, ",")))
	}
	if c.JSONPath == "" {
		return append(errs, field.Required(at.Child("JSONPath"), ""))
	}
	if bad := simplePath(c.JSONPath, at.Child("JSONPath")); len(bad) > 0 {
		return append(errs, bad...)
	}
	if _, err := parsePath(c.JSONPath); err != nil {
		errs = append(errs, field.Invalid(at.Child("JSONPath"), c.JSONPath, err.Error()))
	}
	return errs
}

// validateSelectable checks the fields that selectors may name.
func validateSelectable(v *DefinitionVersion, at *field.Path) (errs field.ErrorList) {
	if len(v.SelectableFields) == 0 {
		return nil
	}
	if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
		return field.ErrorList{field.Invalid(at, "", "may only be set when `version.schema.openAPIV3Schema` is not included")}
	}
	seen := map[string]bool{}
	for i, f := range v.SelectableFields {
		at := at.Index(i).Child("jsonPath")
		if f.JSONPath == "" {
			errs = append(errs, field.Required(at, ""))
			continue
		}
		names, target, err := fieldPath(v.Schema.OpenAPIV3Schema, f.JSONPath)
		if err != nil {
			errs = append(errs, field.Invalid(at, f.JSONPath, fmt.Sprintf("is an invalid path: %v", err)))
			continue
		}
		if names[0] == "metadata" {
			errs = append(errs, field.Invalid(at, f.JSONPath, "must not point to fields in metadata"))
		}
		if target == nil || !slices.Contains([]string{"string", "boolean", "integer"}, target.Type) {
			errs = append(errs, field.Invalid(at, f.JSONPath, "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."))
		}
		if seen[f.JSONPath] {
			errs = append(errs, field.Duplicate(at, f.JSONPath))
		}
		seen[f.JSONPath] = true
	}
	if len(seen) > maxSelectableFields {
		errs = append(errs, field.TooMany(at, len(seen), maxSelectableFields))
	}
	return errs
}

// fieldPath follows a path such as .spec.color through a schema's properties.
func fieldPath(p *JSONSchemaProps, path string) ([]string, *JSONSchemaProps, error) {
	if !strings.HasPrefix(path, ".") || len(path) == 1 {
		return nil, nil, fmt.Errorf("expected [ or . but got: %s", path)
	}
	names := strings.Split(path[1:], ".")
	for _, name := range names {
		child, ok := p.Properties[name]
		switch {
		case ok:
			p = &child
		case name == "metadata" && p.Type == "object":
			return names, &JSONSchemaProps{Type: "string"}, nil
		default:
			return nil, nil, fmt.Errorf("does not refer to a valid field")
		}
	}
	return names, p, nil
}

// validateApproval checks that groups of the Kubernetes community carry the annotation that they were reviewed.
func validateApproval(d, old *CustomResourceDefinition) field.ErrorList {
	if !protectedGroup(d.Spec.Group) {
		return nil
	}
	state, why := approval(d.Annotations)
	if old != nil {
		if before, _ := approval(old.Annotations); before == state {
			return nil
		}
	}
	at := field.NewPath("metadata", "annotations").Key(apiApproved)
	switch state {
	case approvalMissing:
		return field.ErrorList{field.Required(at, why)}
	case approvalInvalid:
		return field.ErrorList{field.Invalid(at, d.Annotations[apiApproved], why)}
	}
	return nil
}

func protectedGroup(group string) bool {
	for _, g := range []string{"k8s.io", "kubernetes.io"} {
		if group == g || strings.HasSuffix(group, "."+g) {
			return true
		}
	}
	return false
}

type approvalState int

const (
	approvalInvalid approvalState = iota
	approved
	approvalBypassed
	approvalMissing
)

func approval(annotations map[string]string) (approvalState, string) {
	text := annotations[apiApproved]
	const see = ", see https://github.com/kubernetes/enhancements/pull/1111"
	u, err := url.ParseRequestURI(text)
	switch {
	case text == "":
		return approvalMissing, fmt.Sprintf("protected groups must have approval annotation %q", apiApproved) + see
	case strings.HasPrefix(text, "unapproved"):
		return approvalBypassed, fmt.Sprintf("not approved: %q", text)
	case err == nil && u.Host != "" && u.Scheme != "":
		return approved, fmt.Sprintf("approved in %v", text)
	}
	return approvalInvalid, fmt.Sprintf("protected groups must have approval annotation %q with either a URL or a reason starting with \"unapproved\"", apiApproved) + see
}

func isEmpty(p *JSONSchemaProps) bool { return reflect.ValueOf(*p).IsZero() || emptyProps(p) }

func emptyProps(p *JSONSchemaProps) bool {
	v := reflect.ValueOf(p).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		if (f.Kind() == reflect.Slice || f.Kind() == reflect.Map) && f.Len() == 0 {
			continue
		}
		if !f.IsZero() {
			return false
		}
	}
	return true
}
