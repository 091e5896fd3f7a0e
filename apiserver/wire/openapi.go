package wire

import (
	"crypto/sha512"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/openapi"
)

const (
	mediaOpenAPIv2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	mediaOpenAPIv3 = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

// reviewKinds are what reviews are asked with, in a fixed order.
func reviewKinds(reviews map[schema.GroupResource]review) ([]*kind.Kind, error) {
	out := make([]*kind.Kind, 0, len(reviews))
	for gr, rev := range reviews {
		k, err := rev.kind(resourcePath{group: gr.Group, version: "v1", resource: gr.Resource})
		if err != nil {
			return nil, fmt.Errorf("wire: %w", err)
		}
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b *kind.Kind) int { return strings.Compare(a.String(), b.String()) })
	return out, nil
}

// openapi answers /openapi/v2, /openapi/v3 and the documents below it.
func (h *Handler) openapi(w http.ResponseWriter, r *http.Request, segments []string) error {
	docs := h.served.Load().docs
	switch {
	case len(segments) == 1 && segments[0] == "v2":
		return h.document(w, r, docs.V2(), mediaOpenAPIv2, "")
	case len(segments) == 1 && segments[0] == "v3":
		data, err := docs.Index()
		if err != nil {
			return err
		}
		if unchanged(w, r, fmt.Sprintf("%X", sha512.Sum512(data))) {
			return nil
		}
		return h.send(w, r, http.StatusOK, mediaJSON, data)
	case len(segments) > 1 && segments[0] == "v3":
		path := strings.Join(segments[1:], "/")
		if doc := docs.V3(path); doc != nil {
			return h.document(w, r, doc, mediaOpenAPIv3, path)
		}
	}
	return h.notFoundPage(w, r)
}

// document answers with a document. path is that of a v3 document, whose address may carry a hash: with the right one the answer may
// be kept for ever, with another the client is sent to the right one.
func (h *Handler) document(w http.ResponseWriter, r *http.Request, doc *openapi.Document, protobuf, path string) error {
	media, err := openapiMedia(r, protobuf)
	if err != nil {
		return err
	}
	hash, err := doc.Hash()
	if err != nil {
		return err
	}
	header := w.Header()
	header.Add("Vary", "Accept")
	if asked := r.URL.Query().Get("hash"); asked != "" && path != "" {
		if asked != hash {
			http.Redirect(w, r, openapi.URL(path, hash), http.StatusMovedPermanently)
			return nil
		}
		header.Set("Cache-Control", "public, immutable")
		header.Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	}
	if unchanged(w, r, hash) {
		return nil
	}
	form := openapi.JSON
	if media == protobuf {
		form = openapi.Protobuf
	}
	if !acceptsGzip(r) {
		data, err := doc.Bytes(form)
		if err != nil {
			return err
		}
		return h.send(w, r, http.StatusOK, media, data)
	}
	data, err := doc.Gzip(form)
	if err != nil {
		return err
	}
	header.Set("Content-Type", media)
	header.Set("Content-Encoding", "gzip")
	header.Add("Vary", "Accept-Encoding")
	header.Set("Content-Length", strconv.Itoa(len(data)))
	if header.Get("Cache-Control") == "" {
		header.Set("Cache-Control", "no-cache, private")
	}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(data) // a client that is gone needs no answer
	return nil
}

// unchanged marks an answer with the hash of what it says, and ends it when the client has just that.
func unchanged(w http.ResponseWriter, r *http.Request, hash string) bool {
	tag := `"` + hash + `"`
	w.Header().Set("ETag", tag)
	for _, have := range strings.Split(strings.Join(r.Header.Values("If-None-Match"), ","), ",") {
		have = strings.TrimSpace(have)
		if have == "*" || strings.TrimPrefix(have, "W/") == tag {
			w.WriteHeader(http.StatusNotModified)
			return true
		}
	}
	return false
}

// openapiMedia chooses an encoding, the best that the client names. Clients write the protobuf type in two ways: @v1.0 is no valid
// media type, and .v1.0 is what it became.
func openapiMedia(r *http.Request, protobuf string) (string, error) {
	header := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(header) == "" {
		return mediaJSON, nil
	}
	best, found := 0.0, ""
	for i, part := range strings.Split(header, ",") {
		if i == maxAccepted {
			break
		}
		q := 1.0
		media, params, err := mime.ParseMediaType(strings.ReplaceAll(part, "@", "."))
		if err != nil {
			continue
		}
		if s, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(s, 64); err != nil || !(q > 0 && q <= 1) {
				continue
			}
		}
		switch media {
		case protobuf:
		case mediaJSON, "*/*", "application/*":
			media = mediaJSON
		default:
			continue
		}
		if q > best {
			best, found = q, media
		}
	}
	if found != "" {
		return found, nil
	}
	return "", &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
		Message: "only the following media types are accepted: " + mediaJSON + ", " + protobuf,
	}}
}
