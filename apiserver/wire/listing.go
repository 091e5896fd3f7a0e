package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/table"
)

const (
	flushAt     = 64 << 10 // bytes that are collected before they are sent
	maxPooled   = 1 << 20  // larger buffers are left to the collector
	memberItems = 256      // at most in one compressed member
	memberEvery = 64       // on average
)

// listing is a list on its way out: what comes before the items, between them and after them.
type listing struct {
	media           string
	head, sep, tail []byte
	items           []kind.Instance
	append          func(to []byte, i int) ([]byte, error) // writes an item

	kind  *kind.Kind
	share string // names the form whose compressed members serve other lists; empty: they don't, because they tell the time
}

// writeList answers with a list.
func (h *Handler) writeList(w http.ResponseWriter, r *http.Request, f form, k *kind.Kind, resp *client.Response) error {
	meta := metav1.ListMeta{
		ResourceVersion: client.FormatRevision(resp.Revision), Continue: resp.Continue, RemainingItemCount: resp.Remaining,
	}
	forms := func(i int) *client.Forms {
		if i < len(resp.ItemForms) {
			return resp.ItemForms[i]
		}
		return nil
	}
	l := listing{media: f.media, items: resp.Items, kind: k, share: string(f.as) + f.version + " " + f.media}
	var err error
	switch {
	case f.as == asTable:
		err = h.tableListing(&l, r, f, meta, forms)
	case f.media == mediaProtobuf:
		err = h.protobufListing(&l, f, meta, forms)
	default:
		err = h.jsonListing(&l, f, meta, forms)
	}
	if err != nil {
		return err
	}
	if f.media == mediaYAML || f.pretty {
		data := l.head
		for i := range l.items {
			if data, err = l.next(data, i); err != nil {
				return err
			}
		}
		return h.writeEncoded(w, r, http.StatusOK, f, append(data, l.tail...))
	}
	return h.stream(w, r, &l)
}

// next writes an item and what separates it from the one before.
func (l *listing) next(to []byte, i int) ([]byte, error) {
	if i > 0 {
		to = append(to, l.sep...)
	}
	return l.append(to, i)
}

func (h *Handler) jsonListing(l *listing, f form, meta metav1.ListMeta, forms func(int) *client.Forms) error {
	of := metav1.TypeMeta{APIVersion: l.kind.APIVersion(), Kind: l.kind.ListName}
	if f.as == asPartials {
		of = metav1.TypeMeta{APIVersion: metaVersion(f.version), Kind: string(asPartials)}
	}
	head, err := json.Marshal(struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata"`
	}{of, meta})
	if err != nil {
		return fmt.Errorf("encode list of %s: %w", l.kind, err)
	}
	l.head = append(bytes.TrimSuffix(head, []byte("}")), `,"items":[`...)
	l.sep, l.tail = []byte(","), []byte("]}\n")
	l.append = func(to []byte, i int) ([]byte, error) {
		if f.as == asPartials {
			data, err := h.forms.metadataJSON(l.items[i], forms(i), f.version)
			return append(to, data...), err
		}
		data, err := h.forms.json(l.kind, l.items[i], forms(i))
		return append(to, data...), err
	}
	return nil
}

// tableListing is a Table, whose rows are made here: their objects are kept, their cells tell ages.
func (h *Handler) tableListing(l *listing, r *http.Request, f form, meta metav1.ListMeta, forms func(int) *client.Forms) error {
	rows, err := h.newRows(r, l.kind, f.version)
	if err != nil {
		return err
	}
	t := metav1.Table{
		TypeMeta: metav1.TypeMeta{APIVersion: metaVersion(f.version), Kind: string(asTable)}, ListMeta: meta,
		ColumnDefinitions: table.Definitions(l.kind), Rows: []metav1.TableRow{},
	}
	head, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode table of %s: %w", l.kind, err)
	}
	l.head, l.sep, l.tail = bytes.TrimSuffix(head, []byte("]}")), []byte(","), []byte("]}\n")
	l.share = ""
	l.append = func(to []byte, i int) ([]byte, error) { return rows.append(to, l.items[i], forms(i)) }
	return nil
}

// protobufListing is a list in protobuf. All lists of k8s.io/api are alike: field 1 is the ListMeta, field 2 the items.
func (h *Handler) protobufListing(l *listing, f form, meta metav1.ListMeta, forms func(int) *client.Forms) error {
	outer, err := newEnvelope(l.kind.APIVersion(), l.kind.ListName)
	if f.as == asPartials {
		outer, err = newEnvelope(metaVersion(f.version), string(asPartials))
	}
	if err != nil {
		return err
	}
	var inner *envelope
	if l.kind.Protobuf() {
		if inner, err = newEnvelope(l.kind.APIVersion(), l.kind.Name); err != nil {
			return err
		}
	}
	item := func(i int) (message, error) {
		if f.as == asPartials {
			return h.metadataProtobuf(inner, l.kind, l.items[i], forms(i))
		}
		return h.forms.protobuf(inner, l.kind, l.items[i], forms(i))
	}
	data, err := meta.Marshal()
	if err != nil {
		return fmt.Errorf("encode list of %s: %w", l.kind, err)
	}
	size := field(len(data)) // the envelope says how long the list is before it begins
	for i := range l.items {
		m, err := item(i)
		if err != nil {
			return err
		}
		size += field(m.size())
	}
	l.head = append(tagged(outer.begin(nil, size), tagMetadata, len(data)), data...)
	l.tail = outer.tail
	l.append = func(to []byte, i int) ([]byte, error) {
		m, err := item(i)
		return m.append(tagged(to, tagItem, m.size())), err
	}
	return nil
}

// metadataProtobuf is the message of a PartialObjectMetadata, out of the object's stored bytes where it can be.
func (h *Handler) metadataProtobuf(e *envelope, k *kind.Kind, obj kind.Instance, of *client.Forms) (message, error) {
	if e != nil && of != nil {
		m, err := h.forms.protobuf(e, k, obj, of)
		if err != nil || m.version != "" {
			m.rest = nil
			return m, err
		}
	}
	return metadataMessage(obj)
}

// stream sends a list piece by piece, so that it never is in memory as a whole. A short one goes out at once, with its length.
func (h *Handler) stream(w http.ResponseWriter, r *http.Request, l *listing) error {
	buf := h.buffers.get()
	defer func() { h.buffers.put(buf) }()
	buf = append(buf, l.head...)
	var err error
	i := 0
	for ; i < len(l.items) && len(buf) <= gzipFrom; i++ {
		if buf, err = l.next(buf, i); err != nil {
			return err
		}
	}
	if i == len(l.items) {
		buf = append(buf, l.tail...)
		return h.send(w, r, http.StatusOK, l.media, buf)
	}
	out := newOutlet(w)
	defer out.end()
	header := w.Header()
	header.Set("Content-Type", l.media)
	if !acceptsGzip(r) {
		w.WriteHeader(http.StatusOK)
		for ; i < len(l.items); i++ {
			if len(buf) > flushAt {
				if err := out.write(buf); err != nil {
					return nil // the client is gone
				}
				buf = buf[:0]
			}
			if buf, err = l.next(buf, i); err != nil {
				return err
			}
		}
		buf = append(buf, l.tail...)
		_ = out.write(buf)
		return nil
	}
	header.Set("Content-Encoding", "gzip")
	header.Add("Vary", "Accept-Encoding")
	w.WriteHeader(http.StatusOK)
	if l.share == "" {
		return h.compress(out, l, buf, i)
	}
	return h.sendMembers(out, l, buf)
}

// compress sends the rest of a list through one compressor. buf has what comes before item i.
func (h *Handler) compress(out *outlet, l *listing, buf []byte, i int) error {
	z := h.buffers.compressor(out)
	defer h.buffers.release(z)
	var err error
	for ; i < len(l.items); i++ {
		if len(buf) > flushAt {
			if _, err := z.Write(buf); err != nil {
				return nil
			}
			buf = buf[:0]
		}
		if buf, err = l.next(buf, i); err != nil {
			return err
		}
	}
	if _, err = z.Write(append(buf, l.tail...)); err == nil {
		_ = z.Close()
	}
	return nil
}

// outlet writes to a client that may be slow. One that takes nothing for writeTimeout is given up.
type outlet struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func newOutlet(w http.ResponseWriter) *outlet {
	return &outlet{w: w, control: http.NewResponseController(w)}
}

func (o *outlet) Write(data []byte) (int, error) {
	_ = o.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // not every writer has deadlines
	return o.w.Write(data)
}

func (o *outlet) write(data []byte) error {
	_, err := o.Write(data)
	return err
}

// end leaves the connection for more requests.
func (o *outlet) end() { _ = o.control.SetWriteDeadline(time.Time{}) }
