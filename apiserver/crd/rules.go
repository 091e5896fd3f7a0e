package crd

import (
	"errors"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

type ruleTree struct{}

func compileRules(*node) *ruleTree { return nil }

func (t *ruleTree) validate(object, old map[string]any) field.ErrorList { return nil }

// validateRules refuses rules.
func validateRules(n *node, at *field.Path) (errs field.ErrorList) {
	if n == nil {
		return nil
	}
	if len(n.props.XValidations) > 0 {
		errs = append(errs, field.Forbidden(at.Child("x-kubernetes-validations"), "rules in CEL are not evaluated by this server"))
	}
	errs = append(errs, validateRules(n.items, at.Child("items"))...)
	errs = append(errs, validateRules(n.additional, at.Child("additionalProperties"))...)
	for _, name := range sortedKeys(n.properties) {
		errs = append(errs, validateRules(n.properties[name], at.Child("properties").Key(name))...)
	}
	return errs
}

func rulePath(*JSONSchemaProps, string) ([]string, error) { return nil, errors.New("no rules") }
