package wire

import (
	"cmp"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The media types of the API.
const (
	mediaJSON     = "application/json"
	mediaYAML     = "application/yaml"
	mediaProtobuf = "application/vnd.kubernetes.protobuf"
)

// form says how an answer is shaped and encoded.
type form struct {
	media   string // one of the media types
	as      shape
	version string // of meta.k8s.io, for a shape
	pretty  bool   // JSON for people
}

// shape is what an object is turned into before it is encoded.
type shape string

const (
	whole      shape = "" // as it is
	asTable    shape = "Table"
	asPartial  shape = "PartialObjectMetadata"
	asPartials shape = "PartialObjectMetadataList"

	maxAccepted = 32 // media ranges looked at
)

// mediaRange is one element of an Accept header.
type mediaRange struct {
	media  string
	params map[string]string
	q      float64
}

// accepted parses an Accept header, best first: by quality, then by how much a range says (RFC 9110, 12.5.1). What cannot be
// parsed is left out.
func accepted(header []string) []mediaRange {
	var out []mediaRange
	for _, part := range strings.Split(strings.Join(header, ","), ",") {
		if len(out) == maxAccepted {
			break
		}
		media, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		m := mediaRange{media: media, params: params, q: 1}
		if s, ok := params["q"]; ok {
			if m.q, err = strconv.ParseFloat(s, 64); err != nil || !(m.q > 0 && m.q <= 1) {
				continue
			}
		}
		out = append(out, m)
	}
	slices.SortStableFunc(out, func(a, b mediaRange) int {
		return cmp.Or(cmp.Compare(b.q, a.q), cmp.Compare(vagueness(a.media), vagueness(b.media)))
	})
	return out
}

func vagueness(media string) int {
	switch {
	case media == "*/*":
		return 2
	case strings.HasSuffix(media, "/*"):
		return 1
	}
	return 0
}

// want says what a request can be answered with.
type want struct {
	protobuf bool // there is a protobuf form
	yaml     bool
	shapes   bool // tables and metadata alone
	stream   bool // of watch events, which are of single objects
	list     bool // the answer is a list
	status   bool // the answer is a Status, which is not shaped whatever is asked for
}

// negotiate chooses the form of an answer. An error is 406.
func negotiate(r *http.Request, w want) (form, error) {
	header := r.Header.Values("Accept")
	if strings.TrimSpace(strings.Join(header, "")) == "" {
		return form{media: mediaJSON, pretty: isPretty(r, nil)}, nil
	}
	for _, m := range accepted(header) {
		f := form{as: shape(m.params["as"]), version: m.params["v"]}
		switch m.media {
		case "*/*", "application/*", mediaJSON:
			f.media = mediaJSON
		case mediaYAML, "application/x-yaml", "text/yaml":
			if !w.yaml {
				continue
			}
			f.media = mediaYAML
		case mediaProtobuf:
			if f.as == asTable || f.as == whole && !w.protobuf {
				continue
			}
			f.media = mediaProtobuf
		default:
			continue
		}
		if stream, ok := m.params["stream"]; ok && stream != "" && stream != "watch" || m.params["sv"] != "" {
			continue
		}
		shaped := m.params["as"] != "" || m.params["g"] != "" || m.params["v"] != ""
		if shaped && !w.status {
			known := f.as == asTable || f.as == asPartial || f.as == asPartials
			if !w.shapes || !known || f.version != "v1" && f.version != "v1beta1" || m.params["g"] != metav1.GroupName {
				continue
			}
			if f.as == asPartial && w.list && !w.stream {
				return f, cannotShape("you requested PartialObjectMetadata, but the requested object is a list")
			}
			if f.as == asPartials && !w.list && !w.stream {
				return f, cannotShape("you requested PartialObjectMetadataList, but the requested object is not a list")
			}
		}
		if w.status {
			f.as = whole
		}
		f.pretty = f.media == mediaJSON && !w.stream && isPretty(r, m.params)
		return f, nil
	}
	return form{}, notAcceptable(w)
}

// isPretty reports whether a person reads the answer: they say so, or use a tool that shows answers as they come. The rules are
// kube-apiserver's.
func isPretty(r *http.Request, params map[string]string) bool {
	if params["pretty"] == "1" {
		return true
	}
	if strings.Contains(r.URL.RawQuery, "pretty") {
		if v := r.URL.Query().Get("pretty"); v != "" {
			pretty, _ := strconv.ParseBool(v)
			return pretty
		}
	}
	agent := r.UserAgent()
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

func notAcceptable(w want) error {
	can := []string{mediaJSON}
	if w.yaml {
		can = append(can, mediaYAML)
	}
	if w.protobuf {
		can = append(can, mediaProtobuf)
	}
	if w.stream {
		for i := range can {
			can[i] += ";stream=watch"
		}
	}
	return cannotShape("only the following media types are accepted: " + strings.Join(can, ", "))
}

func cannotShape(message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable, Message: message,
	}}
}

func unsupportedMedia(can ...string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: "the body of the request was in an unknown format - accepted media types include: " + strings.Join(can, ", "),
	}}
}
