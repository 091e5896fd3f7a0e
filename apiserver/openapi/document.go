package openapi

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Path is the path of a kind's group and version, without a leading slash: api/v1 or apis/apps/v1.
func Path(group, version string) string {
	if group == "" {
		return "api/" + version
	}
	return "apis/" + group + "/" + version
}

// document is the v3 document of some kinds of one group and version.
func document(kinds []*kind.Kind, version string) *spec3.OpenAPI {
	b := newBuilder(refV3)
	paths := map[string]*spec3.Path{}
	for _, k := range kinds {
		name, list := b.kind(k)
		addPaths(paths, k, b.ref+name, b.ref+list)
	}
	return &spec3.OpenAPI{
		Version:    "3.0.0",
		Info:       info(version),
		Paths:      &spec3.Paths{Paths: paths},
		Components: &spec3.Components{Schemas: b.schemas},
	}
}

func info(version string) *spec.Info {
	return &spec.Info{InfoProps: spec.InfoProps{Title: "Kubernetes", Version: version}}
}

// addPaths adds the paths of a kind and its subresources.
func addPaths(paths map[string]*spec3.Path, k *kind.Kind, object, list string) {
	base := "/" + Path(k.Group, k.Version) + "/"
	collection := base + k.Plural
	var params []*spec3.Parameter
	op := func(method, action, schema string, extra ...*spec3.Parameter) *spec3.Operation {
		return operation(k, method, action, schema, extra...)
	}
	if k.Namespaced {
		paths[collection] = &spec3.Path{PathProps: spec3.PathProps{Get: op("listForAllNamespaces", "list", list, listParams()...)}}
		collection = base + "namespaces/{namespace}/" + k.Plural
		params = append(params, inPath("namespace", "the namespace of the object"))
	}
	paths[collection] = &spec3.Path{PathProps: spec3.PathProps{
		Get:        op("list", "list", list, listParams()...),
		Post:       op("create", "post", object, writeParams()...),
		Delete:     op("deleteCollection", "deletecollection", list, listParams()...),
		Parameters: params,
	}}
	params = append(slices.Clone(params), inPath("name", "the name of the object"))
	one := collection + "/{name}"
	paths[one] = &spec3.Path{PathProps: spec3.PathProps{
		Get:        op("read", "get", object),
		Put:        op("replace", "put", object, writeParams()...),
		Patch:      op("patch", "patch", object, patchParams()...),
		Delete:     op("delete", "delete", object),
		Parameters: params,
	}}
	if k.Status {
		paths[one+"/status"] = &spec3.Path{PathProps: spec3.PathProps{
			Get:        op("readStatus", "get", object),
			Put:        op("replaceStatus", "put", object, writeParams()...),
			Patch:      op("patchStatus", "patch", object, patchParams()...),
			Parameters: params,
		}}
	}
}

// operation describes one method. Clients find it by its action and kind.
func operation(k *kind.Kind, name, action, schema string, extra ...*spec3.Parameter) *spec3.Operation {
	group := "core"
	if k.Group != "" {
		group = strings.ReplaceAll(k.Group, ".", "")
	}
	media := func() map[string]*spec3.MediaType {
		return map[string]*spec3.MediaType{"application/json": {MediaTypeProps: spec3.MediaTypeProps{Schema: spec.RefSchema(schema)}}}
	}
	op := &spec3.Operation{OperationProps: spec3.OperationProps{
		OperationId: name + strings.ToUpper(group[:1]) + group[1:] + strings.ToUpper(k.Version[:1]) + k.Version[1:] + k.Name,
		Tags:        []string{group + "_" + k.Version},
		Parameters:  extra,
		Responses: &spec3.Responses{ResponsesProps: spec3.ResponsesProps{StatusCodeResponses: map[int]*spec3.Response{
			200: {ResponseProps: spec3.ResponseProps{Description: "OK", Content: media()}},
		}}},
	}}
	switch action {
	case "post", "put":
		op.RequestBody = &spec3.RequestBody{RequestBodyProps: spec3.RequestBodyProps{Content: media(), Required: true}}
	case "patch":
		content := map[string]*spec3.MediaType{}
		types := []string{"application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"}
		if k.Protobuf() {
			types = append(types, "application/strategic-merge-patch+json")
		}
		for _, t := range types {
			content[t] = &spec3.MediaType{MediaTypeProps: spec3.MediaTypeProps{Schema: &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}}}}}
		}
		op.RequestBody = &spec3.RequestBody{RequestBodyProps: spec3.RequestBodyProps{Content: content, Required: true}}
	}
	op.AddExtension("x-kubernetes-action", action)
	op.AddExtension("x-kubernetes-group-version-kind", metav1.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Name})
	return op
}

func inPath(name, description string) *spec3.Parameter {
	return &spec3.Parameter{ParameterProps: spec3.ParameterProps{Name: name, In: "path", Required: true, Description: description, Schema: spec.StringProperty()}}
}

func inQuery(name, description string, s *spec.Schema) *spec3.Parameter {
	return &spec3.Parameter{ParameterProps: spec3.ParameterProps{Name: name, In: "query", Description: description, Schema: s}}
}

func writeParams() []*spec3.Parameter {
	return []*spec3.Parameter{
		inQuery("dryRun", "All runs everything but stores nothing.", spec.StringProperty()),
		inQuery("fieldManager", "Who writes, for managedFields.", spec.StringProperty()),
		inQuery("fieldValidation", "What happens to unknown and duplicate fields: Ignore, Warn (the default) or Strict.", spec.StringProperty()),
	}
}

func patchParams() []*spec3.Parameter {
	return append(writeParams(), inQuery("force", "For an apply patch: take over fields that others manage.", spec.BooleanProperty()))
}

func listParams() []*spec3.Parameter {
	return []*spec3.Parameter{
		inQuery("labelSelector", "Selects by labels.", spec.StringProperty()),
		inQuery("fieldSelector", "Selects by fields.", spec.StringProperty()),
		inQuery("limit", "How many objects a page has at most.", spec.Int64Property()),
		inQuery("continue", "The token of the next page.", spec.StringProperty()),
		inQuery("resourceVersion", "Which version is read, or where a watch begins.", spec.StringProperty()),
		inQuery("resourceVersionMatch", "How resourceVersion is meant: Exact or NotOlderThan.", spec.StringProperty()),
		inQuery("timeoutSeconds", "When a watch ends.", spec.Int64Property()),
		inQuery("watch", "Follow changes instead of listing.", spec.BooleanProperty()),
		inQuery("allowWatchBookmarks", "Whether the watch may send bookmarks.", spec.BooleanProperty()),
		inQuery("sendInitialEvents", "Whether the watch begins with the current objects.", spec.BooleanProperty()),
	}
}
