package crd_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/apiserver/crd"
)

const rules = `
min: {type: integer}
max: {type: integer}
when: {type: string, format: date-time}
label-key: {type: string, maxLength: 20}
port: {x-kubernetes-int-or-string: true}
ratio: {type: number}
frozen: {type: string, x-kubernetes-validations: [{rule: self == oldSelf, message: is immutable, reason: FieldValueForbidden}]}
grown:
  type: integer
  x-kubernetes-validations: [{rule: 'oldSelf.hasValue() ? self >= oldSelf.value() : self == 1', optionalOldSelf: true, messageExpression: '"must not shrink to " + string(self)'}]
tags: {type: array, maxItems: 10, items: {type: string, maxLength: 20}, x-kubernetes-list-type: set}
slots:
  type: array
  maxItems: 10
  x-kubernetes-list-type: map
  x-kubernetes-list-map-keys: [name]
  items:
    type: object
    required: [name]
    properties:
      name: {type: string, maxLength: 20}
      size: {type: integer, x-kubernetes-validations: [{rule: self >= oldSelf, message: a slot may only grow}]}
x-kubernetes-validations:
`

// withRules is the definition of games with rules about the spec.
func withRules(list ...string) string {
	out := games(strings.Split(rules, "x-kubernetes-validations:\n")[0] + "dummy: {type: string}")
	text := "            x-kubernetes-validations:\n"
	for _, r := range list {
		text += "            - " + r + "\n"
	}
	return strings.Replace(out, "          spec:\n            type: object\n", "          spec:\n            type: object\n"+text, 1)
}

func TestRules(t *testing.T) {
	p := start(t, crd.Config{})
	p.define(withRules(
		`{rule: '!has(self.min) || !has(self.max) || self.min <= self.max', message: min must not be greater than max, fieldPath: .min}`,
		`{rule: "!has(self.label__dash__key) || self.label__dash__key.startsWith('a')", reason: FieldValueRequired, fieldPath: "['label-key']"}`,
		`{rule: "!has(self.when) || self.when > timestamp('2000-01-01T00:00:00Z')"}`,
		`{rule: "!has(self.port) || type(self.port) == int || self.port.endsWith('%')", messageExpression: "'bad port ' + string(self.port)"}`,
		`{rule: "!has(self.ratio) || self.ratio < 1.5"}`,
		`{rule: "!has(self.tags) || !has(oldSelf.tags) || self.tags == oldSelf.tags", message: tags may only be reordered}`,
	))
	for spec, want := range map[string]string{
		"{min: 3, max: 2}":               `spec.min: Invalid value: min must not be greater than max`,
		"{label-key: b}":                 `spec.label-key: Required value: failed rule: !has(self.label__dash__key) || self.label__dash__key.startsWith('a')`,
		`{when: "1999-01-01T00:00:00Z"}`: `spec: Invalid value: failed rule: !has(self.when)`,
		"{port: x}":                      `spec: Invalid value: bad port x`,
		"{ratio: 2}":                     `spec: Invalid value: failed rule`,
		"{grown: 2}":                     `spec.grown: Invalid value: 2: must not shrink to 2`,
		"{min: x, max: 2}":               `some validation rules were not checked because the object was invalid; correct the existing errors to complete validation`,
	} {
		require.Contains(t, p.bad(422, "POST", all, game("bad", spec)), want, spec)
	}
	p.ok("POST", all, game("a", `{min: 1, max: 2, port: "5%", frozen: x, grown: 1, tags: [a, b], ratio: 1, when: "2020-01-01T00:00:00Z", slots: [{name: one, size: 2}, {name: two, size: 2}]}`))
	patch := func(spec string) (int, string) {
		code, out := p.send("PATCH", all+"/a", "{spec: "+spec+"}", "Content-Type", "application/merge-patch+json")
		text, _ := out["message"].(string)
		return code, text
	}
	for spec, want := range map[string]string{
		"{frozen: z}": "spec.frozen: Forbidden: is immutable",
		"{grown: 0}":  "spec.grown: Invalid value: 0: must not shrink to 0",
		"{tags: [a]}": "spec: Invalid value: tags may only be reordered",
		"{slots: [{name: two, size: 2}, {name: one, size: 1}]}": "spec.slots[1].size: Invalid value: 1: a slot may only grow",
	} {
		code, text := patch(spec)
		require.Equal(t, 422, code, spec)
		require.Contains(t, text, want, spec)
	}
	for _, spec := range []string{"{tags: [b, a]}", "{grown: 3}", "{slots: [{name: two, size: 3}, {name: one, size: 2}]}", "{port: 80}"} {
		code, text := patch(spec)
		require.Equal(t, 200, code, "%s: %s", spec, text)
	}
}

func TestRatcheting(t *testing.T) {
	p := start(t, crd.Config{})
	p.define(games("level: {type: integer}\nother: {type: string}\nlist: {type: array, items: {type: string}}"))
	p.ok("POST", all, game("a", "{level: 50, list: [long-one], replicas: 1}"))
	tight := games("level: {type: integer, maximum: 10, x-kubernetes-validations: [{rule: self < 5}]}\nother: {type: string}\nlist: {type: array, maxItems: 5, items: {type: string, maxLength: 3}}")
	now := p.ok("GET", definitions+"/games.example.com", "")
	tight = strings.Replace(tight, "metadata: {", "metadata: {resourceVersion: \""+now["metadata"].(map[string]any)["resourceVersion"].(string)+"\", ", 1)
	p.ok("PUT", definitions+"/games.example.com", tight)
	change := func(spec string) (int, map[string]any) {
		return p.send("PATCH", all+"/a", "{spec: "+spec+"}", "Content-Type", "application/merge-patch+json")
	}
	code, out := change("{other: x}")
	require.Equal(t, 200, code, "what does not fit but has not changed stays: %v", out)
	code, out = change("{level: 20}")
	require.Equal(t, 422, code)
	require.Contains(t, out["message"], "spec.level in body should be less than or equal to 10")
	require.Contains(t, out["message"], "failed rule: self < 5")
	code, _ = change("{list: [long-one, b]}")
	require.Equal(t, 422, code, "elements of a list without keys are new when the list changes")
	code, _ = change("{level: 3}")
	require.Equal(t, 200, code)
	require.Contains(t, p.bad(422, "POST", all, game("b", "{level: 50}")), "spec.level in body should be less than or equal to 10")
}

func TestRulesThatAreRefused(t *testing.T) {
	p := start(t, crd.Config{})
	at := "spec.versions[0].schema.openAPIV3Schema.properties[spec]"
	for rule, want := range map[string]string{
		`{rule: self.nope == 1}`:                 at + `.x-kubernetes-validations[0].rule: Invalid value`,
		`{rule: self.min}`:                       `cel expression must evaluate to a bool`,
		`{rule: "true", messageExpression: "1"}`: `messageExpression must evaluate to a string`,
		`{rule: ""}`:                             `rule: Required value: rule is not specified`,
		`{rule: "true", reason: Nonsense}`:       `reason: Unsupported value: "Nonsense"`,
		`{rule: "true", fieldPath: .nope}`:       `fieldPath: Invalid value: ".nope": must be a valid path`,
		`{rule: "true", optionalOldSelf: true}`:  `may not be set if oldSelf is not used in rule`,
		`{rule: "self.tags.all(a, self.tags.all(b, self.tags.all(c, self.tags.all(d, self.tags.all(e, self.tags.all(f, self.tags.all(g, a == g)))))))"}`: `estimated rule cost exceeds budget by factor of`,
	} {
		require.Contains(t, p.bad(422, "POST", definitions, withRules(rule)), want, rule)
	}
	unordered := strings.Replace(games("list: {type: array, maxItems: 3, items: {type: string, maxLength: 3, x-kubernetes-validations: [{rule: self == oldSelf}]}}"), "dummy", "", 1)
	require.Contains(t, p.bad(422, "POST", definitions, unordered), "oldSelf cannot be used on the uncorrelatable portion of the schema within")
}

func TestRulesCannotCostTooMuch(t *testing.T) {
	p := start(t, crd.Config{})
	open := games("words: {type: array, items: {type: string}, x-kubernetes-validations: [{rule: 'self.all(a, self.all(b, a == b))'}]}")
	require.Contains(t, p.bad(422, "POST", definitions, open), "exceeds budget by factor of more than 100x")
	bounded := games("words: {type: array, maxItems: 1500, items: {type: string, maxLength: 2}, x-kubernetes-validations: [{rule: 'self.all(a, self.indexOf(a) >= 0)'}]}")
	p.define(bounded)
	words := "[" + strings.TrimSuffix(strings.Repeat("ab,", 1500), ",") + "]"
	require.Contains(t, p.bad(422, "POST", all, game("a", "{words: "+words+"}")), "call cost exceeds limit for rule")
}
