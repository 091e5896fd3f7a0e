package openapi

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// The media types of operations.
const (
	mediaJSON     = "application/json"
	mediaYAML     = "application/yaml"
	mediaProtobuf = "application/vnd.kubernetes.protobuf"
)

// operation is the description of a method while it is made.
type operation struct{ *spec3.Operation }

// operation begins the description of a method of k. Its id is the verb, the group, the version and the name.
func (p *paths) operation(k *kind.Kind, verb, name, action, description string, params []*spec3.Parameter) operation {
	group := groupTitle(k.Group)
	tag := strings.ToLower(group[:1]) + group[1:]
	version := ""
	if k.Version != "" {
		version = strings.ToUpper(k.Version[:1]) + k.Version[1:]
		tag += "_" + k.Version
	}
	o := operation{&spec3.Operation{OperationProps: spec3.OperationProps{
		Description: description,
		OperationId: verb + group + version + name,
		Tags:        []string{tag},
		Parameters:  params,
		Responses: &spec3.Responses{ResponsesProps: spec3.ResponsesProps{StatusCodeResponses: map[int]*spec3.Response{
			401: {ResponseProps: spec3.ResponseProps{Description: "Unauthorized"}},
		}}},
	}}}
	if action != "" {
		o.AddExtension("x-kubernetes-action", action)
	}
	return o.of(k)
}

// groupTitle is a group as part of an operation's id: Core, Apps, RbacAuthorization.
func groupTitle(group string) string {
	if group == "" {
		return "Core"
	}
	var b strings.Builder
	for _, part := range strings.Split(strings.TrimSuffix(group, ".k8s.io"), ".") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

// of says which kind is sent.
func (o operation) of(k *kind.Kind) operation {
	o.AddExtension(extensionGVK, metav1.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Name})
	return o
}

func (o operation) done() *spec3.Operation { return o.Operation }

// answers adds what comes back.
func (o operation) answers(media []string, schema *spec.Schema, codes ...int) operation {
	text := map[int]string{200: "OK", 201: "Created", 202: "Accepted"}
	for _, code := range codes {
		content := make(map[string]*spec3.MediaType, len(media))
		for _, m := range media {
			content[m] = &spec3.MediaType{MediaTypeProps: spec3.MediaTypeProps{Schema: schema}}
		}
		o.Responses.StatusCodeResponses[code] = &spec3.Response{ResponseProps: spec3.ResponseProps{Description: text[code], Content: content}}
	}
	return o
}

// takes says what is sent, which must be there.
func (o operation) takes(schema *spec.Schema) operation {
	o.takesMaybe(schema).RequestBody.Required = true
	return o
}

// takesMaybe says what may be sent.
func (o operation) takesMaybe(schema *spec.Schema) operation {
	o.RequestBody = &spec3.RequestBody{RequestBodyProps: spec3.RequestBodyProps{Content: map[string]*spec3.MediaType{
		"*/*": {MediaTypeProps: spec3.MediaTypeProps{Schema: schema}},
	}}}
	return o
}

// patches says which patches a kind takes.
func (o operation) patches(p *paths, k *kind.Kind) operation {
	types := []string{"application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"}
	if k.Protobuf() { // a built-in kind
		types = append(types, "application/strategic-merge-patch+json")
	}
	content := make(map[string]*spec3.MediaType, len(types))
	for _, t := range types {
		content[t] = &spec3.MediaType{MediaTypeProps: spec3.MediaTypeProps{Schema: p.ref(p.meta("Patch"))}}
	}
	o.RequestBody = &spec3.RequestBody{RequestBodyProps: spec3.RequestBodyProps{Content: content, Required: true}}
	return o
}

// media are the encodings of a kind's objects; k is nil for those of discovery.
func media(k *kind.Kind, watch bool) []string {
	out := []string{mediaJSON, mediaYAML}
	protobuf := k == nil || k.Protobuf()
	if protobuf {
		out = append(out, mediaProtobuf)
	}
	if watch {
		out = append(out, mediaJSON+";stream=watch")
		if protobuf {
			out = append(out, mediaProtobuf+";stream=watch")
		}
	}
	return out
}

func withArticle(k *kind.Kind) string {
	name := k.Name
	if strings.EqualFold(name, k.Plural) { // Endpoints
		return name
	}
	if name != "" && strings.ContainsRune("AEIOU", rune(name[0])) {
		return "an " + name
	}
	return "a " + name
}
