package main

import (
	"compress/gzip"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var published = flag.String("published", "", "the directory api/openapi-spec/v3 of k8s.io/kubernetes, whose schemas ours are compared with")

// TestDataIsWhatIsPublished compares the data files with the documents that Kubernetes publishes. Those leave out enums, which a
// server sends.
//
//	dir=$(go mod download -json k8s.io/kubernetes@v1.37.0 | jq -r .Dir)
//	go -C compat/schemas test . -args -published $dir/api/openapi-spec/v3
func TestDataIsWhatIsPublished(t *testing.T) {
	if *published == "" {
		t.Skip("no -published")
	}
	files, err := filepath.Glob(filepath.Join(*published, "*_openapi.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no documents: %v", *published, err)
	}
	ours := data(t)
	same := 0
	for _, file := range files {
		var doc struct {
			Components struct{ Schemas map[string]map[string]any }
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &doc); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for name, want := range doc.Components.Schemas {
			got, ok := ours[name]
			if !ok {
				if !strings.Contains(name, "alpha") && !strings.Contains(name, "beta") {
					t.Errorf("%s is missing", name)
				}
				continue
			}
			delete(want, "x-kubernetes-group-version-kind")
			if !reflect.DeepEqual(withoutEnums(got), withoutEnums(want)) {
				t.Errorf("%s differs:\n%v\n%v", name, got, want)
			}
			same++
		}
	}
	if same < 600 {
		t.Errorf("only %d schemas were compared", same)
	}
}

// data are the schemas of the data files, by name.
func data(t *testing.T) map[string]any {
	files, err := filepath.Glob("../../apiserver/openapi/schemas/*.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var types map[string]any
		if err := json.NewDecoder(z).Decode(&types); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		_ = f.Close()
		for name, s := range types {
			out[strings.TrimSuffix(filepath.Base(file), ".json.gz")+"."+name] = s
		}
	}
	return out
}

// withoutEnums takes enums out of a schema, and the texts about them.
func withoutEnums(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, e := range v {
			if _, list := e.([]any); key == "enum" && list {
				continue
			}
			if s, ok := e.(string); ok && key == "description" {
				s, _, _ = strings.Cut(s, "Possible enum values")
				out[key] = strings.TrimSpace(s)
				continue
			}
			out[key] = withoutEnums(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = withoutEnums(v[i])
		}
		return out
	}
	return v
}
