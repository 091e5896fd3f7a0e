package wire

import (
	"mime"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/openapi"
)

const (
	mediaOpenAPIv2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	mediaOpenAPIv3 = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

// openapi answers /openapi/v2, /openapi/v3 and the documents below it.
func (h *Handler) openapi(w http.ResponseWriter, r *http.Request, segments []string) error {
	var doc *openapi.Document
	var err error
	protobuf := mediaOpenAPIv3
	switch {
	case len(segments) == 1 && segments[0] == "v2":
		doc, err = h.docs.V2()
		protobuf = mediaOpenAPIv2
	case len(segments) == 1 && segments[0] == "v3":
		data, err := h.docs.Index()
		if err != nil {
			return err
		}
		return h.send(w, r, http.StatusOK, mediaJSON, data)
	case len(segments) > 1 && segments[0] == "v3":
		doc, err = h.docs.V3(strings.Join(segments[1:], "/"))
	}
	if err != nil {
		return err
	}
	if doc == nil {
		return h.notFoundPage(w, r)
	}
	header := w.Header()
	header.Set("ETag", `"`+doc.Hash+`"`)
	header.Add("Vary", "Accept")
	if r.URL.Query().Get("hash") == doc.Hash {
		header.Set("Cache-Control", "public, immutable")
	}
	if strings.Contains(r.Header.Get("If-None-Match"), doc.Hash) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	media, err := openapiMedia(r, protobuf)
	if err != nil {
		return err
	}
	if media == mediaJSON {
		return h.send(w, r, http.StatusOK, mediaJSON, doc.JSON)
	}
	return h.send(w, r, http.StatusOK, media, doc.Protobuf)
}

// openapiMedia chooses an encoding. Clients write the protobuf type in two ways: @v1.0 is no valid media type, and
// .v1.0 is what it became.
func openapiMedia(r *http.Request, protobuf string) (string, error) {
	header := strings.Join(r.Header.Values("Accept"), ",")
	if header == "" {
		return mediaJSON, nil
	}
	for _, part := range strings.Split(header, ",") {
		part = strings.TrimSpace(part)
		if strings.ReplaceAll(part, "@", ".") == protobuf {
			return protobuf, nil
		}
		media, _, err := mime.ParseMediaType(part)
		if err == nil && (media == mediaJSON || media == "*/*" || media == "application/*") {
			return mediaJSON, nil
		}
	}
	return "", &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
		Message: "only the following media types are accepted: " + mediaJSON + ", " + protobuf,
	}}
}
