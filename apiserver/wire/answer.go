package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	yamlconv "sigs.k8s.io/yaml"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/table"
)

const (
	gzipFrom    = 128 << 10 // bytes; smaller answers cost more to compress than to send
	warningCode = 299
	maxWarning  = 1 << 10 // bytes of one warning that are sent
	maxWarnings = 4 << 10 // bytes of all of them, as upstream

	maxMessage       = 16 << 10 // bytes of a Status's message, which may quote what the client sent
	maxCauses        = 100
	maxCauseMessage  = 1 << 10
	maxWarningsCount = 32
)

// shorten cuts a text to at most n bytes of valid UTF-8, and says so.
func shorten(text string, n int) string {
	if len(text) <= n {
		return text
	}
	const end = "... (shortened)"
	return strings.ToValidUTF8(text[:max(0, n-len(end))], "") + end
}

// marshaler is what generated types with a protobuf form have.
type marshaler interface{ Marshal() ([]byte, error) }

// send writes a whole answer.
func (h *Handler) send(w http.ResponseWriter, r *http.Request, code int, contentType string, data []byte) error {
	header := w.Header()
	header.Set("Content-Type", contentType)
	if len(data) > gzipFrom && acceptsGzip(r) {
		var buf bytes.Buffer
		z := h.buffers.compressor(nil)
		z.Reset(&buf)
		_, _ = z.Write(data) // a buffer takes everything
		_ = z.Close()
		h.buffers.release(z)
		header.Set("Content-Encoding", "gzip")
		header.Add("Vary", "Accept-Encoding")
		data = buf.Bytes()
	}
	header.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(code)
	_, _ = w.Write(data) // a client that is gone needs no answer
	return nil
}

func acceptsGzip(r *http.Request) bool {
	for _, e := range strings.Split(r.Header.Get("Accept-Encoding"), ",") {
		coding, params, _ := strings.Cut(e, ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			return !strings.HasPrefix(strings.ReplaceAll(params, " ", ""), "q=0") || strings.Contains(params, "0.")
		}
	}
	return false
}

// writeJSON answers with a value that is no object of the API, for people, as kube-apiserver does.
func (h *Handler) writeJSON(w http.ResponseWriter, r *http.Request, code int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return h.send(w, r, code, mediaJSON, indented(data))
}

// indented is JSON for people.
func indented(data []byte) []byte {
	var out bytes.Buffer
	if json.Indent(&out, data, "", "  ") != nil {
		return data
	}
	return out.Bytes()
}

// writeEncoded answers with JSON that is there, as YAML or for people if that was asked for. data is not changed.
func (h *Handler) writeEncoded(w http.ResponseWriter, r *http.Request, code int, f form, data []byte) error {
	if f.media == mediaYAML {
		var err error
		if data, err = yamlconv.JSONToYAML(data); err != nil {
			return fmt.Errorf("encode answer: %w", err)
		}
		return h.send(w, r, code, f.media, data)
	}
	if f.pretty {
		data = indented(bytes.TrimSuffix(data, []byte("\n")))
	} else if !bytes.HasSuffix(data, []byte("\n")) { // as kube-apiserver ends what is not for people
		line := h.buffers.get()
		data = append(append(line, data...), '\n')
		defer h.buffers.put(data)
	}
	return h.send(w, r, code, f.media, data)
}

// writeMeta answers with an object that is only ever sent (a Status, a Table, metadata) in JSON, YAML or protobuf.
func (h *Handler) writeMeta(w http.ResponseWriter, r *http.Request, code int, f form, apiVersion, name string, v any) error {
	if f.media == mediaProtobuf {
		m, ok := v.(marshaler)
		if !ok {
			return notAcceptable(want{yaml: true})
		}
		raw, err := m.Marshal()
		if err != nil {
			return fmt.Errorf("encode %s: %w", name, err)
		}
		data, err := kind.Envelope(apiVersion, name, raw)
		if err != nil {
			return err
		}
		return h.send(w, r, code, mediaProtobuf, data)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return h.writeEncoded(w, r, code, f, data)
}

// writeObject answers with one object.
func (h *Handler) writeObject(w http.ResponseWriter, r *http.Request, code int, f form, k *kind.Kind, obj kind.Instance, of *client.Forms) error {
	switch f.as {
	case asTable:
		rows, err := h.newRows(r, k, f.version)
		if err != nil {
			return err
		}
		data, err := tableOf(rows, obj, of, true, rows.include)
		if err != nil {
			return err
		}
		return h.writeEncoded(w, r, code, f, data)
	case asPartial, asPartials:
		if f.media == mediaProtobuf {
			p := table.Partial(obj)
			return h.writeMeta(w, r, code, f, metaVersion(f.version), p.Kind, p)
		}
		data, err := h.forms.metadataJSON(obj, of, f.version)
		if err != nil {
			return err
		}
		return h.writeEncoded(w, r, code, f, data)
	}
	if f.media == mediaProtobuf {
		e, err := newEnvelope(k.APIVersion(), k.Name)
		if err != nil {
			return err
		}
		m, err := h.forms.protobuf(e, k, obj, of)
		if err != nil {
			return err
		}
		buf := e.append(h.buffers.get(), m)
		defer h.buffers.put(buf)
		return h.send(w, r, code, mediaProtobuf, buf)
	}
	data, err := h.forms.json(k, obj, of)
	if err != nil {
		return err
	}
	return h.writeEncoded(w, r, code, f, data)
}

// tableOf is the table of one object, with or without its columns' headings.
func tableOf(t *rows, obj kind.Instance, of *client.Forms, headed bool, include table.Include) ([]byte, error) {
	head := metav1.Table{
		TypeMeta: metav1.TypeMeta{APIVersion: metaVersion(t.version), Kind: string(asTable)},
		ListMeta: metav1.ListMeta{ResourceVersion: obj.GetResourceVersion()}, Rows: []metav1.TableRow{},
	}
	if headed {
		head.ColumnDefinitions = table.Definitions(t.kind)
	}
	data, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("encode table of %s: %w", t.kind, err)
	}
	data, err = t.appendWith(bytes.TrimSuffix(data, []byte("]}")), obj, of, include)
	return append(data, "]}"...), err
}

func metaVersion(version string) string { return metav1.GroupName + "/" + version }

// warn adds warnings for the user to the headers. Clients refuse headers that are too long, so that many warnings end
// in one that counts the rest.
func warn(w http.ResponseWriter, texts []string) {
	left := maxWarnings
	add := func(text string) {
		text = shorten(strings.ToValidUTF8(text, "?"), maxWarning)
		left -= len(text)
		if v, err := utilnet.NewWarningHeader(warningCode, "-", text); err == nil {
			w.Header().Add("Warning", v)
		}
	}
	for i, t := range texts {
		if i == maxWarningsCount || left <= 0 {
			add(fmt.Sprintf("%d more warnings", len(texts)-i))
			return
		}
		add(t)
	}
}

// writeStatus answers with a Status, in protobuf if the client reads nothing else.
func (h *Handler) writeStatus(w http.ResponseWriter, r *http.Request, code int, s metav1.Status) error {
	s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	f, err := negotiate(r, want{protobuf: true, yaml: true, status: true})
	if err != nil {
		f = form{media: mediaJSON, pretty: true}
	}
	return h.writeMeta(w, r, code, f, "v1", "Status", &s)
}

// statusOf is an error as the API tells it.
func statusOf(err error) metav1.Status {
	var known apierrors.APIStatus
	switch {
	case errors.As(err, &known):
		return known.Status()
	case errors.Is(err, context.DeadlineExceeded):
		return apierrors.NewTimeoutError("the request did not finish in time", 0).Status()
	case errors.Is(err, context.Canceled):
		return apierrors.NewTimeoutError("the request was cancelled", 0).Status()
	}
	return apierrors.NewInternalError(err).Status()
}

// bound keeps what a Status quotes of a request from being as large as the request.
func bound(s *metav1.Status) {
	s.Message = shorten(s.Message, maxMessage)
	if s.Details == nil {
		return
	}
	details := *s.Details
	details.Name = shorten(details.Name, maxCauseMessage)
	details.Causes = slices.Clone(details.Causes[:min(len(details.Causes), maxCauses)])
	for i := range details.Causes {
		c := &details.Causes[i]
		c.Message, c.Field = shorten(c.Message, maxCauseMessage), shorten(c.Field, maxCauseMessage)
	}
	s.Details = &details
}

// fail answers with an error. After the answer was begun it can only end the connection.
func (h *Handler) fail(w *response, r *http.Request, err error) {
	if w.begun {
		h.log.Debug("request failed after its answer began", zapPath(r), zapError(err))
		panic(http.ErrAbortHandler)
	}
	s := statusOf(err)
	bound(&s)
	if s.Status == "" {
		s.Status = metav1.StatusFailure
	}
	if s.Code < 400 || s.Code > 599 {
		s.Code = http.StatusInternalServerError
	}
	if s.Code >= 500 {
		h.log.Warn("request failed", zapPath(r), zapError(err))
	}
	header := w.Header()
	header.Del("Content-Encoding")
	if s.Details != nil && s.Details.RetryAfterSeconds > 0 {
		header.Set("Retry-After", strconv.Itoa(int(s.Details.RetryAfterSeconds)))
	}
	if s.Code == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", `Bearer realm="kubernetes"`)
	}
	header.Set("X-Content-Type-Options", "nosniff")
	if err := h.writeStatus(w, r, int(s.Code), s); err != nil {
		h.log.Error("status could not be written", zapPath(r), zapError(err))
	}
}
