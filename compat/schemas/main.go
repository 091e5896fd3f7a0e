package main

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/gengo/v2"
	"k8s.io/gengo/v2/generator"
	"k8s.io/kube-openapi/cmd/openapi-gen/args"
	"k8s.io/kube-openapi/pkg/generators"
)

const module = "github.com/keelson-dev/keelson/compat/schemas"

// The program that prints what openapi-gen wrote. It is no Go file here because it does not compile without that.
//
//go:embed print.go.txt
var printProgram []byte

func main() {
	log.SetFlags(0)
	out := flag.String("out", "", "the directory of the data files; what it holds of them is replaced")
	flag.Parse()
	if *out == "" {
		log.Fatal("schemas: -out is required")
	}
	if err := run(*out); err != nil {
		log.Fatalf("schemas: %v", err)
	}
}

func run(out string) error {
	work, err := os.MkdirTemp(".", "generated") // inside the module, to compile with its dependencies
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := generate(work); err != nil {
		return fmt.Errorf("openapi-gen: %w", err)
	}
	schemas, err := printed(work)
	if err != nil {
		return err
	}
	return write(out, schemas)
}

// generate runs openapi-gen over the packages.
func generate(work string) error {
	a := args.New()
	a.OutputDir, a.OutputPkg, a.OutputFile = work, module+"/"+filepath.Base(work), "openapi.go"
	a.ReportFilename = filepath.Join(work, "violations") // upstream's own, which are no errors here
	if err := a.Validate(); err != nil {
		return err
	}
	targets := func(c *generator.Context) []generator.Target { return generators.GetOpenAPITargets(c, a, nil) }
	return gengo.Execute(generators.NameSystems(), generators.DefaultNameSystem(), targets, gengo.StdBuildTag, packages)
}

// printed compiles the generated code and gives its schemas by name.
func printed(work string) (map[string]json.RawMessage, error) {
	program := filepath.Join(work, "print")
	if err := os.Mkdir(program, 0o755); err != nil {
		return nil, err
	}
	text := bytes.ReplaceAll(printProgram, []byte("GENERATED"), []byte(module+"/"+filepath.Base(work)))
	if err := os.WriteFile(filepath.Join(program, "main.go"), text, 0o644); err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "run", "./"+filepath.ToSlash(program))
	cmd.Stderr = os.Stderr
	data, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("print the generated schemas: %w", err)
	}
	var schemas map[string]json.RawMessage
	return schemas, json.Unmarshal(data, &schemas)
}

// write puts the schemas of each Go package into a file of its own.
func write(out string, schemas map[string]json.RawMessage) error {
	old, err := filepath.Glob(filepath.Join(out, "*.json.gz"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	byPackage := map[string]map[string]json.RawMessage{}
	for name, s := range schemas {
		pkg := name[:strings.LastIndexByte(name, '.')]
		if byPackage[pkg] == nil {
			byPackage[pkg] = map[string]json.RawMessage{}
		}
		byPackage[pkg][name[len(pkg)+1:]] = s
	}
	for pkg, types := range byPackage {
		data, err := json.Marshal(types)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
		if err != nil {
			return err
		}
		if _, err := z.Write(data); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(out, pkg+".json.gz"), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
