package openapi

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

//go:generate go -C ../../compat/schemas run . -out ../../apiserver/openapi/schemas

// schemas holds the schemas of the built-in types, one file per Go package: an object of schemas by type.
//
//go:embed schemas/*.json.gz
var schemas embed.FS

// library reads the schemas of built-in types. It decompresses a package when something of it is first asked for, and keeps it as
// long as the library lives: as long as something is being built. It is not safe for concurrent use.
type library struct {
	packages map[string]map[string]json.RawMessage
}

// find is the schema of a type by the name that references use, in JSON; nil when it is none of the built-in ones. The bytes are
// shared.
func (l *library) find(name string) json.RawMessage {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return nil
	}
	pkg, known := l.packages[name[:dot]]
	if !known {
		var err error
		if pkg, err = readPackage(name[:dot]); err != nil {
			panic(fmt.Sprintf("openapi: the data of this program: %v", err)) // no input: a test reads all of it
		}
		if l.packages == nil {
			l.packages = map[string]map[string]json.RawMessage{}
		}
		l.packages[name[:dot]] = pkg
	}
	return pkg[name[dot+1:]]
}

// readPackage reads the file of a package; there is none for packages that are not built in.
func readPackage(name string) (map[string]json.RawMessage, error) {
	data, err := schemas.ReadFile("schemas/" + name + ".json.gz")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var out map[string]json.RawMessage
	if err := json.NewDecoder(z).Decode(&out); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

// references are the names that the schema s refers to, in order and with repetitions.
func references(s json.RawMessage) []string {
	var out []string
	const mark = `"$ref":"` + refPrefix
	for {
		i := bytes.Index(s, []byte(mark))
		if i < 0 {
			return out
		}
		s = s[i+len(mark):]
		end := bytes.IndexByte(s, '"')
		out = append(out, string(s[:end]))
		s = s[end:]
	}
}
