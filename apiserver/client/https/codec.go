package https

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// protobuf reports whether a kind travels as protobuf.
func (c *Client) protobuf(k *kind.Kind) bool { return !c.cfg.JSON && k.Protobuf() }

func (c *Client) accept(k *kind.Kind) string {
	if c.protobuf(k) {
		return mediaProtobuf + "," + mediaJSON
	}
	return mediaJSON
}

// encode makes a request ready to be sent.
func (c *Client) encode(req *client.Request) (*message, error) {
	q, err := query(req)
	if err != nil {
		return nil, err
	}
	if named(req) && req.Name == "" {
		return nil, fmt.Errorf("https: %s %s: a name is required", req.Verb, req.Kind)
	}
	sent := req.Kind.Sent(req.Subresource)
	m := &message{url: c.url(req), header: http.Header{"Accept": {c.accept(sent)}}}
	m.url.RawQuery = q.Encode()
	switch req.Verb {
	case client.Get, client.List, client.Watch:
		m.method = http.MethodGet
	case client.Create, client.Update:
		m.method = http.MethodPost
		if req.Verb == client.Update {
			m.method = http.MethodPut
		}
		if req.Object == nil {
			return nil, fmt.Errorf("https: %s %s: an object is required", req.Verb, req.Kind)
		}
		return m, c.encodeObject(m, sent, req.Object)
	case client.Patch:
		m.method = http.MethodPatch
		m.header.Set("Content-Type", string(req.PatchType))
		m.body = req.PatchData
	case client.Delete, client.DeleteCollection:
		m.method = http.MethodDelete
		o := req.Delete
		o.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}
		if req.DryRun {
			o.DryRun = []string{metav1.DryRunAll}
		}
		if m.body, err = json.Marshal(&o); err != nil {
			return nil, fmt.Errorf("https: delete options: %w", err)
		}
		m.header.Set("Content-Type", mediaJSON)
	default:
		return nil, fmt.Errorf("https: %q is no verb", req.Verb)
	}
	return m, nil
}

func (c *Client) encodeObject(m *message, k *kind.Kind, obj kind.Instance) error {
	var err error
	if c.protobuf(k) {
		m.header.Set("Content-Type", mediaProtobuf)
		m.body, err = k.EncodeProtobuf(obj)
		return err
	}
	m.header.Set("Content-Type", mediaJSON)
	if obj.GetObjectKind().GroupVersionKind() != k.GroupVersionKind() {
		obj = k.Copy(obj) // the caller's, and perhaps shared: it is not written to
	}
	m.body, err = k.EncodeJSON(obj)
	return err
}

// decode reads an answer that is no error.
func (c *Client) decode(req *client.Request, resp *http.Response, body []byte) (*client.Response, error) {
	out := &client.Response{Created: resp.StatusCode == http.StatusCreated && req.Verb != client.Create, Warnings: warnings(resp)}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || media != mediaJSON && media != mediaProtobuf {
		return nil, fmt.Errorf("%s %s: the server answered with %q, want %s or %s", req.Verb, req.Kind, resp.Header.Get("Content-Type"), mediaJSON, mediaProtobuf)
	}
	name, err := kindOf(media, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", req.Verb, req.Kind, err)
	}
	switch {
	case name == "Status":
		out.Deleted = req.Verb == client.Delete
	case name == req.Kind.ListName && (req.Verb == client.List || req.Verb == client.DeleteCollection):
		return out, decodeList(out, req.Kind, media, body)
	default:
		k := req.Kind
		if sent := k.Sent(req.Subresource); sent.Name == name {
			k = sent
		}
		if out.Object, err = k.Decode(body); err != nil {
			return nil, fmt.Errorf("%s %s: %w", req.Verb, req.Kind, err)
		}
	}
	return out, nil
}

// kindOf is the kind that encoded data says it is.
func kindOf(media string, body []byte) (string, error) {
	if media == mediaProtobuf {
		_, gvk, err := kind.OpenEnvelope(body)
		return gvk.Kind, err
	}
	var t metav1.TypeMeta
	if err := json.Unmarshal(body, &t); err != nil {
		return "", fmt.Errorf("decode answer: %w", err)
	}
	return t.Kind, nil
}

func decodeList(out *client.Response, k *kind.Kind, media string, body []byte) error {
	var meta metav1.ListMeta
	var err error
	if media == mediaProtobuf {
		out.Items, err = listProtobuf(k, &meta, body)
	} else {
		out.Items, err = listJSON(k, &meta, body)
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", k, err)
	}
	out.Continue, out.Remaining = meta.Continue, meta.RemainingItemCount
	if out.Revision, err = client.ParseRevision(meta.ResourceVersion); err != nil {
		return fmt.Errorf("list %s: %w", k, err)
	}
	return nil
}

func listJSON(k *kind.Kind, meta *metav1.ListMeta, body []byte) ([]kind.Instance, error) {
	var list struct {
		Metadata metav1.ListMeta   `json:"metadata"`
		Items    []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("decode answer: %w", err)
	}
	*meta = list.Metadata
	items := make([]kind.Instance, len(list.Items))
	for i, data := range list.Items {
		obj, err := k.DecodeJSON(data, false)
		if err != nil {
			return nil, err
		}
		items[i] = obj
	}
	return items, nil
}

// listProtobuf reads a list: field 1 is its metadata, field 2 the items.
func listProtobuf(k *kind.Kind, meta *metav1.ListMeta, body []byte) ([]kind.Instance, error) {
	raw, _, err := kind.OpenEnvelope(body)
	if err != nil {
		return nil, err
	}
	items := []kind.Instance{}
	for len(raw) > 0 {
		number, wireType, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return nil, fmt.Errorf("decode answer: %w", protowire.ParseError(n))
		}
		raw = raw[n:]
		if wireType != protowire.BytesType || number > 2 {
			if n = protowire.ConsumeFieldValue(number, wireType, raw); n < 0 {
				return nil, fmt.Errorf("decode answer: %w", protowire.ParseError(n))
			}
			raw = raw[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(raw)
		if n < 0 {
			return nil, fmt.Errorf("decode answer: %w", protowire.ParseError(n))
		}
		raw = raw[n:]
		if number == 1 {
			if err := meta.Unmarshal(value); err != nil {
				return nil, fmt.Errorf("decode answer: %w", err)
			}
			continue
		}
		obj := k.New()
		m, ok := obj.(interface{ Unmarshal([]byte) error })
		if !ok {
			return nil, fmt.Errorf("decode answer: %T has no protobuf form", obj)
		}
		if err := m.Unmarshal(value); err != nil {
			return nil, fmt.Errorf("decode answer: %w", err)
		}
		k.Stamp(obj)
		items = append(items, obj)
	}
	return items, nil
}

// statusProtobuf reads a Status as an error.
func statusProtobuf(body []byte) error {
	raw, gvk, err := kind.OpenEnvelope(body)
	if err != nil {
		return err
	}
	if gvk.Kind != "Status" {
		return fmt.Errorf("got a %s where a Status was due", gvk.Kind)
	}
	var s metav1.Status
	if err := s.Unmarshal(raw); err != nil {
		return fmt.Errorf("decode status: %w", err)
	}
	return &apierrors.StatusError{ErrStatus: s}
}

func warnings(resp *http.Response) []string {
	parsed, errs := utilnet.ParseWarningHeaders(resp.Header.Values("Warning"))
	if errors.Join(errs...) != nil && len(parsed) == 0 {
		return nil // a warning that cannot be read is no reason to fail
	}
	var out []string
	for _, w := range parsed {
		out = append(out, strings.TrimSpace(w.Text))
	}
	return out
}
