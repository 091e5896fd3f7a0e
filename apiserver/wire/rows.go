package wire

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/table"
)

// rows writes the rows of one kind's tables as JSON. The cells are made for each, because they tell ages.
type rows struct {
	forms   *forms
	kind    *kind.Kind
	columns []kind.Column
	include table.Include
	version string // of meta.k8s.io
	now     time.Time
}

func (h *Handler) newRows(r *http.Request, k *kind.Kind, version string) (*rows, error) {
	include, err := table.ParseInclude(r.URL.Query().Get("includeObject"))
	if err != nil {
		return nil, apierrors.NewBadRequest("Unable to convert to Table as requested: " + err.Error())
	}
	return &rows{forms: h.forms, kind: k, columns: table.Columns(k), include: include, version: version, now: time.Now()}, nil
}

// append writes one row.
func (t *rows) append(to []byte, obj kind.Instance, of *client.Forms) ([]byte, error) {
	return t.appendWith(to, obj, of, t.include)
}

func (t *rows) appendWith(to []byte, obj kind.Instance, of *client.Forms, include table.Include) ([]byte, error) {
	to = append(to, `{"cells":[`...)
	var err error
	for i := range t.columns {
		if i > 0 {
			to = append(to, ',')
		}
		if to, err = appendCell(to, table.Cell(&t.columns[i], obj, t.now)); err != nil {
			return to, fmt.Errorf("encode table of %s: column %s: %w", t.kind, t.columns[i].Name, err)
		}
	}
	to = append(to, `],"object":`...)
	var data []byte
	switch include {
	case table.None:
		data = []byte("null")
	case table.Object:
		data, err = t.forms.json(t.kind, obj, of)
	default:
		data, err = t.forms.metadataJSON(obj, of, t.version)
	}
	return append(append(to, data...), '}'), err
}

// appendCell writes a cell. The usual ones are written here: text that needs no escape, numbers, truth values.
func appendCell(to []byte, v any) ([]byte, error) {
	switch t := v.(type) {
	case nil:
		return append(to, "null"...), nil
	case int64:
		return strconv.AppendInt(to, t, 10), nil
	case bool:
		return strconv.AppendBool(to, t), nil
	case string:
		if plain(t) {
			return append(append(append(to, '"'), t...), '"'), nil
		}
	}
	data, err := json.Marshal(v)
	return append(to, data...), err
}

// plain reports whether text stands in JSON as it is, as encoding/json writes it.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}
