package wire

import (
	"mime"
	"net/http"
	"sort"
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
	media string // one of the media types
	as    shape
}

// shape is what an object is turned into before it is encoded.
type shape string

const (
	whole       shape = "" // as it is
	asTable     shape = "Table"
	asPartial   shape = "PartialObjectMetadata"
	asPartials  shape = "PartialObjectMetadataList"
	maxAccepted       = 32 // media ranges looked at
)

// mediaRange is one element of an Accept header.
type mediaRange struct {
	media  string
	params map[string]string
	q      float64
}

// accepted parses an Accept header, best first. What cannot be parsed is left out.
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
			if m.q, err = strconv.ParseFloat(s, 64); err != nil || m.q <= 0 || m.q > 1 {
				continue
			}
		}
		out = append(out, m)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].q > out[j].q })
	return out
}

// want says what a request can be answered with.
type want struct {
	protobuf bool // there is a protobuf form
	yaml     bool
	shapes   bool // tables and metadata alone
}

// negotiate chooses the form of an answer. An error is 406.
func negotiate(r *http.Request, w want) (form, error) {
	header := r.Header.Values("Accept")
	if strings.TrimSpace(strings.Join(header, "")) == "" {
		return form{media: mediaJSON}, nil
	}
	for _, m := range accepted(header) {
		f := form{as: shape(m.params["as"])}
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
		if f.as != whole {
			known := f.as == asTable || f.as == asPartial || f.as == asPartials
			if !w.shapes || !known || m.params["v"] != "v1" || m.params["g"] != metav1.GroupName {
				continue
			}
		}
		return f, nil
	}
	return form{}, notAcceptable(w)
}

func notAcceptable(w want) error {
	can := []string{mediaJSON}
	if w.yaml {
		can = append(can, mediaYAML)
	}
	if w.protobuf {
		can = append(can, mediaProtobuf)
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
		Message: "only the following media types are accepted: " + strings.Join(can, ", "),
	}}
}

func unsupportedMedia(got string, can ...string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: "the body of the request was in an unknown format (" + got + "); accepted media types include: " + strings.Join(can, ", "),
	}}
}
