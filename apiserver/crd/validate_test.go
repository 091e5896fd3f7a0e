package crd_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/apiserver/crd"
)

// edited is the definition of games with one text in place of another.
func edited(t *testing.T, pairs ...string) string {
	t.Helper()
	out := games("")
	for i := 0; i < len(pairs); i += 2 {
		require.Contains(t, out, pairs[i])
		out = strings.Replace(out, pairs[i], pairs[i+1], 1)
	}
	return out
}

// TestDefinitionsThatAreRefused has one bad definition for each rule, with upstream's text.
func TestDefinitionsThatAreRefused(t *testing.T) {
	p := start(t, crd.Config{})
	for _, c := range []struct {
		name string
		edit []string
		want string
	}{
		{"name", []string{"{name: games.example.com}", "{name: other.example.com}"}, `metadata.name: Invalid value: "other.example.com": must be spec.names.plural+"."+spec.group`},
		{"group", []string{"group: example.com", "group: example", "games.example.com", "games.example"}, `spec.group: Invalid value: "example": should be a domain with at least one dot`},
		{"scope", []string{"scope: Namespaced", "scope: Galaxy"}, `spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced"`},
		{"kind", []string{"kind: Game,", "kind: 'Ga me',"}, `spec.names.kind: Invalid value: "Ga me": may have mixed case, but should otherwise match:`},
		{"list kind", []string{"kind: Game,", "kind: Game, listKind: Game,"}, `spec.names.listKind: Invalid value: "Game": kind and listKind may not be the same`},
		{"short name", []string{"[gm]", "[G!]"}, `spec.names.shortNames[0]: Invalid value: "G!"`},
		{"no storage", []string{"storage: true", "storage: false"}, `must have exactly one version marked as storage version`},
		{"version name", []string{"name: v1\n", "name: V1\n"}, `spec.versions[0].name: Invalid value: "V1"`},
		{"column type", []string{"name: Mode, type: string", "name: Mode, type: text"}, `additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,number,string`},
		{"column path", []string{"jsonPath: .spec.mode}\n    - {name: Ready", "jsonPath: spec.mode}\n    - {name: Ready"}, `additionalPrinterColumns[0].JSONPath: Invalid value: "spec.mode": must be a simple json path starting with .`},
		{"scale path", []string{"specReplicasPath: .spec.replicas", "specReplicasPath: .status.replicas"}, `scale.specReplicasPath: Invalid value: ".status.replicas": should be a json path under .spec`},
		{"selectable field", []string{"- {jsonPath: .spec.mode}", "- {jsonPath: .spec.nope}"}, `selectableFields[0].jsonPath: Invalid value: ".spec.nope": is an invalid path`},
		{"selectable type", []string{"- {jsonPath: .spec.mode}", "- {jsonPath: .spec}"}, `must point to a field of type string, boolean or integer`},
		{"preserve", []string{"scope: Namespaced", "scope: Namespaced\n  preserveUnknownFields: true"}, `spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead`},
		{"strategy", []string{"scope: Namespaced", "scope: Namespaced\n  conversion: {strategy: Magic}"}, `spec.conversion.strategy: Unsupported value: "Magic": supported values: "None", "Webhook"`},
		{"webhook", []string{"scope: Namespaced", "scope: Namespaced\n  conversion: {strategy: Webhook}"}, `spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook`},
		{"approval", []string{"group: example.com", "group: example.k8s.io", "games.example.com", "games.example.k8s.io"}, `metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111`},
		{"no schema", []string{"    schema:\n      openAPIV3Schema:\n", "    unused:\n      unused:\n"}, `spec.versions[0].schema.openAPIV3Schema: Required value`},
		{"deprecation", []string{"served: true", "served: true\n    deprecationWarning: old"}, `deprecationWarning: Invalid value: "old": can only be set for deprecated versions`},
	} {
		t.Run(c.name, func(t *testing.T) { require.Contains(t, p.bad(422, "POST", definitions, edited(t, c.edit...)), c.want) })
	}
}

// TestSchemasThatAreRefused has one bad schema for each rule, as properties of spec, with upstream's text.
func TestSchemasThatAreRefused(t *testing.T) {
	p := start(t, crd.Config{})
	at := "spec.versions[0].schema.openAPIV3Schema.properties[spec]."
	for schema, want := range map[string]string{
		"x: {}":                           at + "properties[x].type: Required value: must not be empty for specified object fields",
		"x: {type: array}":                at + "properties[x].items: Required value: must be specified",
		"x: {type: string, default: 1}":   at + "properties[x].default: Invalid value",
		"x: {type: nonsense}":             at + `properties[x].type: Unsupported value: "nonsense"`,
		"x: {type: 'null'}":               "type cannot be set to null, use nullable as an alternative",
		"x: {type: string, pattern: '('}": at + `properties[x].pattern: Invalid value: "(": must be a valid regular expression, but isn't`,
		"x: {$ref: '#/y'}":                at + "properties[x].$ref: Forbidden: $ref is not supported",
		"x: {type: array, uniqueItems: true, items: {type: string}}":                                                                               "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
		"x: {type: object, properties: {a: {type: string}}, additionalProperties: {type: string}}":                                                 "additionalProperties and properties are mutual exclusive",
		"x: {type: object, patternProperties: {a: {type: string}}}":                                                                                "patternProperties is not supported",
		"x: {type: array, items: [{type: string}]}":                                                                                                "items must be a schema object and not an array",
		"x: {type: string, anyOf: [{type: string}]}":                                                                                               at + "properties[x].anyOf[0].type: Forbidden: must be empty to be structural",
		"x: {type: string, allOf: [{description: x}]}":                                                                                             "allOf[0].description: Forbidden: must be empty to be structural",
		"x: {type: string, x-kubernetes-list-type: set}":                                                                                           at + `properties[x].type: Invalid value: "string": must be array if x-kubernetes-list-type is specified`,
		"x: {type: array, items: {type: object}, x-kubernetes-list-type: map}":                                                                     "x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
		"x: {type: array, items: {type: object, properties: {id: {type: string}}}, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [id]}": "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
		"x: {type: array, items: {type: object}, x-kubernetes-list-type: set}":                                                                     "must be atomic as item of a list with x-kubernetes-list-type=set",
		"x: {type: object, x-kubernetes-map-type: loose}":                                                                                          `x-kubernetes-map-type: Unsupported value: "loose": supported values: "atomic", "granular"`,
		"x: {type: object, x-kubernetes-preserve-unknown-fields: false}":                                                                           "x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
		"x: {x-kubernetes-int-or-string: true, x-kubernetes-preserve-unknown-fields: true}":                                                        "must be false if x-kubernetes-int-or-string is true",
		"x: {type: object, x-kubernetes-embedded-resource: true}":                                                                                  "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
		"x: {type: object, default: {a: 1}}":                                                                                                       "must not have unknown fields",
	} {
		require.Contains(t, p.bad(422, "POST", definitions, games(schema)), want, schema)
	}
}

func TestDefinitionsChange(t *testing.T) {
	p := start(t, crd.Config{})
	p.define(games(""))
	put := func(manifest string) (int, string) {
		now := p.ok("GET", definitions+"/games.example.com", "")
		version := now["metadata"].(map[string]any)["resourceVersion"].(string)
		code, out := p.send("PUT", definitions+"/games.example.com", strings.Replace(manifest, "metadata: {", `metadata: {resourceVersion: "`+version+`", `, 1))
		text, _ := out["message"].(string)
		return code, text
	}
	code, text := put(edited(t, "scope: Namespaced", "scope: Cluster"))
	require.Equal(t, 422, code)
	require.Contains(t, text, "spec.scope: Invalid value: \"Cluster\": field is immutable")
	two := strings.Replace(games(""), "storage: true", "storage: false", 1)
	two += strings.Replace(two[strings.Index(two, "  - name: v1\n"):], "name: v1", "name: v2", 1)
	two = two[:strings.LastIndex(two, "storage: false")] + "storage: true" + two[strings.LastIndex(two, "storage: false")+len("storage: false"):]
	code, text = put(two)
	require.Equal(t, 200, code, text)
	d := p.waitFor("games.example.com", crd.Established)
	require.Equal(t, []string{"v1", "v2"}, d.Status.StoredVersions)
	require.Contains(t, p.ok("GET", "/apis/example.com", "")["preferredVersion"], "groupVersion")
	p.ok("POST", all, game("a", "{}"))
	require.Equal(t, "example.com/v2", p.ok("GET", strings.Replace(all, "v1", "v2", 1)+"/a", "")["apiVersion"])
	only := strings.Replace(games(""), "name: v1\n", "name: v2\n", 1)
	code, text = put(only)
	require.Equal(t, 422, code)
	require.Contains(t, text, "status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions; v1 was previously a storage version")
}

func TestValuesThatAreRefused(t *testing.T) {
	p := start(t, crd.Config{})
	p.define(games(`
name: {type: string, minLength: 2, maxLength: 4, pattern: '^[a-z]+$'}
when: {type: string, format: date-time}
addr: {type: string, format: ipv4}
ratio: {type: number, minimum: 0, exclusiveMinimum: true, multipleOf: 0.5}
list: {type: array, maxItems: 2, items: {type: integer}}
set: {type: array, x-kubernetes-list-type: set, items: {type: string}}
keyed: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k], items: {type: object, required: [k], properties: {k: {type: string}}}}
limits: {type: object, maxProperties: 1, additionalProperties: {type: integer}}
either: {x-kubernetes-int-or-string: true}
choice: {type: object, properties: {a: {type: string}, b: {type: string}}, oneOf: [{required: [a]}, {required: [b]}]}
must: {type: object, required: [a], properties: {a: {type: string}}}
maybe: {type: string, nullable: true}
whole: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}
`))
	for spec, want := range map[string]string{
		"{mode: chess}":             `spec.mode: Unsupported value: "chess": supported values: "duel", "team"`,
		"{replicas: many}":          `spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"`,
		"{name: a}":                 `spec.name: Invalid value: "a": spec.name in body should be at least 2 chars long`,
		"{name: abcde}":             `spec.name: Too long: may not be more than 4 bytes`,
		"{name: A1}":                `spec.name: Invalid value: "A1": spec.name in body should match '^[a-z]+$'`,
		"{when: today}":             `spec.when in body must be of type date-time: "today"`,
		"{addr: nowhere}":           `spec.addr in body must be of type ipv4: "nowhere"`,
		"{ratio: 0}":                `spec.ratio in body should be greater than 0`,
		"{ratio: 0.7}":              `spec.ratio in body should be a multiple of 0.5`,
		"{list: [1, 2, 3]}":         `spec.list: Too many: 3: must have at most 2 items`,
		"{list: [a]}":               `spec.list[0]: Invalid value: "string": spec.list[0] in body must be of type integer: "string"`,
		"{set: [a, b, a]}":          `spec.set[2]: Duplicate value: "a"`,
		"{keyed: [{k: x}, {k: x}]}": `spec.keyed[1]: Duplicate value: {"k":"x"}`,
		"{limits: {a: 1, b: 2}}":    `spec.limits: Too many: 2: must have at most 1 item`,
		"{either: true}":            `spec.either in body must be of type integer,string: "boolean"`,
		"{choice: {a: x, b: x}}":    `spec.choice: Invalid value`,
		"{must: {}}":                `spec.must.a: Required value`,
		"{whole: {spec: {}}}":       `spec.whole.kind: Required value: must not be empty`,
		"[]":                        `spec: Invalid value: "array": spec in body must be of type object: "array"`,
	} {
		require.Contains(t, p.bad(422, "POST", all, game("bad", spec)), want, spec)
	}
	made := p.ok("POST", all, game("good", `{name: abc, either: "5%", ratio: 1.5, maybe: null, mode: null, whole: {apiVersion: v1, kind: Pod, metadata: {name: x}, any: thing}}`))
	spec := made["spec"].(map[string]any)
	require.Equal(t, "duel", spec["mode"], "null where it is not allowed is the default")
	require.Contains(t, spec, "maybe")
	require.Equal(t, "thing", spec["whole"].(map[string]any)["any"])
}
