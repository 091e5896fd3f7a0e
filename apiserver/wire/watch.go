package wire

import (
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/table"
)

const (
	// writeTimeout ends a watch or a list whose client takes nothing any more.
	writeTimeout = time.Minute

	// leastTimeout is how long a watch lasts at least whose client names no time-out, and at most twice that, by chance, so that clients
	// that began together don't come back together: kube-apiserver's --min-request-timeout.
	leastTimeout = 30 * time.Minute
)

// watch answers with a stream of events.
func (c *call) watch() error {
	f, err := negotiate(c.r, want{protobuf: c.kind.Protobuf(), shapes: true, stream: true})
	if err != nil {
		return err
	}
	enc, err := c.encoder(f)
	if err != nil {
		return err
	}
	if t := c.req.List.TimeoutSeconds; t == nil || *t == 0 {
		seconds := int64(leastTimeout/time.Second) + rand.Int64N(int64(leastTimeout/time.Second))
		c.req.List.TimeoutSeconds = &seconds
	}
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	c.req.Verb, c.req.WantForms = client.Watch, true
	watcher, err := c.client().Watch(ctx, c.req)
	if err != nil {
		return err
	}
	defer func() { _ = watcher.Close() }()

	header := c.w.Header()
	header.Set("Content-Type", f.media)
	if f.media == mediaProtobuf {
		header.Set("Content-Type", mediaProtobuf+";stream=watch")
	}
	out := eventWriter{h: c.h, outlet: newOutlet(c.w)}
	// The state at the beginning is a list, and is compressed as one.
	if initial := c.req.List.SendInitialEvents; initial != nil && *initial && acceptsGzip(c.r) {
		header.Set("Content-Encoding", "gzip")
		header.Add("Vary", "Accept-Encoding")
		out.gzip = true
	}
	c.w.WriteHeader(http.StatusOK)
	defer out.outlet.end()         // the connection may serve more requests
	_ = out.outlet.control.Flush() // the client waits for the headers before the first event
	if c.r.Method == http.MethodHead {
		return nil
	}
	return enc.copy(ctx, watcher, &out)
}

// copy sends events until the stream ends.
func (e *eventEncoder) copy(ctx context.Context, watcher client.Watcher, out *eventWriter) error {
	more := func() bool { return false }
	if b, ok := watcher.(client.Buffered); ok {
		more = b.More
	}
	var buf []byte // nil while the stream waits, so that a quiet one holds none
	for {
		event, err := watcher.Next(ctx)
		if err != nil && (errors.Is(err, io.EOF) || ctx.Err() != nil) {
			return nil
		}
		if buf == nil {
			buf = e.h.buffers.get()
		}
		if err == nil {
			begun := len(buf)
			if buf, err = e.event(buf, event); err != nil {
				buf = buf[:begun]
			}
		}
		ended := err != nil
		if ended {
			if buf, err = e.failure(buf, err); err != nil {
				return err
			}
		}
		if !ended && len(buf) < flushAt && more() {
			continue // many events in one write
		}
		err = out.send(buf)
		e.h.buffers.put(buf)
		buf = nil
		if err != nil || ended {
			return nil // the client is gone, or has been told why this ends
		}
	}
}

// eventWriter sends frames, compressed if that was agreed.
type eventWriter struct {
	h      *Handler
	outlet *outlet
	gzip   bool
}

// smallSend is below what compression gains anything in: such a piece is a gzip member that is stored as it is.
const smallSend = 4 << 10

func (w *eventWriter) send(data []byte) error {
	if !w.gzip {
		if err := w.outlet.write(data); err != nil {
			return err
		}
		return w.outlet.control.Flush()
	}
	// A member for each piece: a quiet stream holds no compressor.
	var z *gzip.Writer
	if len(data) < smallSend {
		z = w.h.buffers.storer()
		defer w.h.buffers.stored.Put(z)
	} else {
		z = w.h.buffers.compressor(nil)
		defer w.h.buffers.release(z)
	}
	z.Reset(w.outlet)
	_, err := z.Write(data)
	if err = errors.Join(err, z.Flush(), z.Close()); err != nil { // the flush is what readers get the data by, before the next member begins
		return err
	}
	return w.outlet.control.Flush()
}

// eventEncoder turns events into frames. It belongs to one stream.
type eventEncoder struct {
	h      *Handler
	kind   *kind.Kind
	form   form
	outer  *envelope // of the object in a protobuf stream
	inner  *envelope // of the kind; nil when it has no protobuf form
	rows   *rows     // of tables
	headed bool      // the column definitions were sent
}

func (c *call) encoder(f form) (*eventEncoder, error) {
	e := &eventEncoder{h: c.h, kind: c.kind, form: f}
	var err error
	if f.as == asTable {
		e.rows, err = c.h.newRows(c.r, c.kind, f.version)
		return e, err
	}
	if f.media != mediaProtobuf {
		return e, nil
	}
	if c.kind.Protobuf() {
		if e.inner, err = newEnvelope(c.kind.APIVersion(), c.kind.Name); err != nil {
			return nil, err
		}
	}
	if e.outer = e.inner; f.as != whole {
		e.outer, err = newEnvelope(metaVersion(f.version), string(asPartial))
	}
	return e, err
}

// event writes an event's frame.
func (e *eventEncoder) event(to []byte, ev client.Event) ([]byte, error) {
	obj := ev.Object
	if ev.Type == client.Bookmark {
		obj, ev.Forms = e.kind.New(), nil // nobody else gets this one
		e.kind.Stamp(obj)
		obj.SetResourceVersion(client.FormatRevision(ev.Revision))
		if ev.InitialEventsEnd {
			obj.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
		}
	}
	if e.form.media == mediaProtobuf {
		var m message
		var err error
		if e.form.as == whole {
			m, err = e.h.forms.protobuf(e.inner, e.kind, obj, ev.Forms)
		} else {
			m, err = e.h.metadataProtobuf(e.inner, e.kind, obj, ev.Forms)
		}
		if err != nil {
			return to, err
		}
		return protobufFrame(to, string(ev.Type), e.outer, m)
	}
	var data []byte
	var err error
	switch e.form.as {
	case whole:
		data, err = e.h.forms.json(e.kind, obj, ev.Forms)
	case asTable:
		include := e.rows.include
		if ev.InitialEventsEnd {
			include = table.Metadata // whatever was asked for: its annotation is what it is for
		}
		e.rows.now = time.Now()
		data, err = tableOf(e.rows, obj, ev.Forms, !e.headed, include)
		e.headed = true
	default:
		data, err = e.h.forms.metadataJSON(obj, ev.Forms, e.form.version)
	}
	if err != nil {
		return to, err
	}
	return jsonFrame(to, string(ev.Type), data), nil
}

// failure writes the event that says why a stream ends.
func (e *eventEncoder) failure(to []byte, cause error) ([]byte, error) {
	s := statusOf(cause)
	bound(&s)
	s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	if e.form.media != mediaProtobuf {
		data, err := json.Marshal(&s)
		return jsonFrame(to, "ERROR", data), err
	}
	raw, err := s.Marshal()
	if err != nil {
		return to, fmt.Errorf("encode Status: %w", err)
	}
	around, err := newEnvelope("v1", "Status")
	if err != nil {
		return to, err
	}
	return protobufFrame(to, "ERROR", around, message{rest: raw})
}

// jsonFrame writes a line of JSON.
func jsonFrame(to []byte, eventType string, object []byte) []byte {
	to = append(to, `{"type":"`...)
	to = append(to, eventType...)
	to = append(to, `","object":`...)
	to = append(to, object...)
	return append(to, "}\n"...)
}

// protobufFrame writes a WatchEvent after its length in four bytes.
func protobufFrame(to []byte, eventType string, around *envelope, m message) ([]byte, error) {
	object := around.size(m.size())
	extension := field(object)
	size := field(len(eventType)) + field(extension)
	if size > math.MaxInt32 {
		return to, fmt.Errorf("watch event of %d bytes is too large", size)
	}
	to = binary.BigEndian.AppendUint32(to, uint32(size))
	to = append(tagged(to, tagEventType, len(eventType)), eventType...)
	to = tagged(to, tagEventObject, extension)
	to = tagged(to, tagExtension, object)
	return around.append(to, m), nil
}
