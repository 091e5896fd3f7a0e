package wire

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	yamlnode "sigs.k8s.io/yaml/goyaml.v3"
)

// A few bytes of a body can stand for a structure of a kilobyte: "{}," in JSON, two bytes of protobuf, an alias in
// YAML. So beside its size a body's number of structures is bounded.
const (
	maxStructures = 1 << 15
	maxDepth      = 10_000 // what encoding/json allows
	maxNesting    = 256    // of protobuf messages; no kind comes near
)

var (
	errNotText   = errors.New("the body is not valid UTF-8")
	errTooMany   = fmt.Errorf("the body has more than %d objects and lists", maxStructures)
	errTooDeep   = errors.New("the body is nested too deeply")
	errExpands   = fmt.Errorf("the document's aliases stand for more than %d bytes", maxBody)
	errDocuments = errors.New("the body has more than one document")
)

// checkJSON refuses JSON that is no text or that would take far more memory than its bytes. Its syntax is for the decoder.
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errNotText
	}
	structures, depth, quoted := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if structures++; structures > maxStructures {
				return errTooMany
			}
			if depth++; depth > maxDepth {
				return errTooDeep
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// checkYAML refuses YAML that is no text, that has several documents, of which all but the first would be lost, or
// whose aliases make much of little.
func checkYAML(data []byte) error {
	if !utf8.Valid(data) {
		return errNotText
	}
	text := string(data)
	if strings.Count(text, "{")+strings.Count(text, "[") > maxStructures {
		return errTooMany
	}
	several := strings.Contains(text, "\n---") || strings.Contains(text, "\n...")
	if !several && !(strings.Contains(text, "&") && strings.Contains(text, "*")) {
		return nil
	}
	decoder := yamlnode.NewDecoder(strings.NewReader(text))
	var first, second yamlnode.Node
	if err := decoder.Decode(&first); err != nil {
		return nil // the decoder that follows says what is wrong
	}
	if err := decoder.Decode(&second); err == nil && len(second.Content) > 0 && second.Content[0].Tag != "!!null" {
		return errDocuments
	}
	if _, ok := expanded(&first, map[*yamlnode.Node]int{}); !ok {
		return errExpands
	}
	return nil
}

// expanded is how many bytes a node stands for at least, with its aliases replaced. It is false above the limit, and
// for a node that contains itself.
func expanded(n *yamlnode.Node, known map[*yamlnode.Node]int) (int, bool) {
	if n.Kind == yamlnode.AliasNode {
		n = n.Alias
	}
	if size, ok := known[n]; ok {
		return size, size >= 0
	}
	known[n] = -1 // while it is being counted
	size := len(n.Value) + 2
	for _, child := range n.Content {
		more, ok := expanded(child, known)
		if size += more; !ok || size > maxBody {
			return 0, false
		}
	}
	known[n] = size
	return size, true
}
