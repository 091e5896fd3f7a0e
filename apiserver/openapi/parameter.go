package openapi

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

func inPath(name, description string) *spec3.Parameter {
	return &spec3.Parameter{ParameterProps: spec3.ParameterProps{Name: name, In: "path", Required: true, Description: description, Schema: one("string")}}
}

func inQuery(name, typ, description string) *spec3.Parameter {
	return &spec3.Parameter{ParameterProps: spec3.ParameterProps{Name: name, In: "query", Description: description, Schema: one(typ)}}
}

// one is the schema of a parameter. That its items are unique is what kube-apiserver says of every parameter.
func one(typ string) *spec.Schema {
	return &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{typ}, UniqueItems: true}}
}

func pretty() *spec3.Parameter {
	return inQuery("pretty", "string", "Whether the answer is indented: 'true' or 'false'. Unset, it is for browsers and command-line tools, by their user agent.")
}

// writeParams are the parameters of writes; patches have one more.
func writeParams(patch bool) []*spec3.Parameter {
	docs := metav1.PatchOptions{}.SwaggerDoc()
	out := []*spec3.Parameter{
		inQuery("dryRun", "string", docs["dryRun"]),
		inQuery("fieldManager", "string", docs["fieldManager"]),
		inQuery("fieldValidation", "string", docs["fieldValidation"]),
	}
	if patch {
		return append(out, inQuery("force", "boolean", docs["force"]))
	}
	out[1].Description = metav1.CreateOptions{}.SwaggerDoc()["fieldManager"]
	return out
}

func deleteParams() []*spec3.Parameter {
	docs := metav1.DeleteOptions{}.SwaggerDoc()
	return []*spec3.Parameter{
		inQuery("dryRun", "string", docs["dryRun"]),
		inQuery("gracePeriodSeconds", "integer", docs["gracePeriodSeconds"]),
		inQuery("orphanDependents", "boolean", docs["orphanDependents"]),
		inQuery("propagationPolicy", "string", docs["propagationPolicy"]),
	}
}

// collectionParams select the objects of a collection.
func collectionParams() []*spec3.Parameter {
	docs := metav1.ListOptions{}.SwaggerDoc()
	return []*spec3.Parameter{
		inQuery("continue", "string", docs["continue"]),
		inQuery("fieldSelector", "string", docs["fieldSelector"]),
		inQuery("labelSelector", "string", docs["labelSelector"]),
		inQuery("limit", "integer", docs["limit"]),
		inQuery("resourceVersion", "string", docs["resourceVersion"]),
		inQuery("resourceVersionMatch", "string", docs["resourceVersionMatch"]),
		inQuery("sendInitialEvents", "boolean", docs["sendInitialEvents"]),
		inQuery("timeoutSeconds", "integer", docs["timeoutSeconds"]),
	}
}

func listParams() []*spec3.Parameter {
	docs := metav1.ListOptions{}.SwaggerDoc()
	return append(collectionParams(),
		inQuery("allowWatchBookmarks", "boolean", docs["allowWatchBookmarks"]),
		inQuery("watch", "boolean", docs["watch"]),
	)
}

// query are the fields of a built-in type as parameters.
func (b *builder) query(name string) []*spec3.Parameter {
	var s struct {
		Properties map[string]struct {
			Type        string
			Description string
			Items       struct{ Type string }
		}
	}
	data := b.find(name)
	if data == nil {
		return nil
	}
	mustRead(name, data, &s)
	var out []*spec3.Parameter
	for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
		f := s.Properties[field]
		typ := f.Type
		switch {
		case field == "kind", field == "apiVersion", typ == "": // no query, or no simple type
			continue
		case typ == "array": // repeated
			typ = f.Items.Type
		}
		out = append(out, inQuery(field, typ, f.Description))
	}
	return out
}
