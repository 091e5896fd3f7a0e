package wire

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/table"
)

// writeTimeout ends a watch whose client takes nothing any more.
const writeTimeout = time.Minute

// watch answers with a stream of events.
func (c *call) watch() error {
	f, err := negotiate(c.r, want{protobuf: c.kind.Protobuf(), shapes: true})
	if err != nil {
		return err
	}
	include, err := table.ParseInclude(c.q.Get("includeObject"))
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	c.req.Verb = client.Watch
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
	header.Set("Cache-Control", "no-cache, private")
	c.w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(c.w)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }() // the connection may serve more requests
	_ = control.Flush()                                          // the client waits for the headers before the first event
	if c.r.Method == http.MethodHead {
		return nil
	}
	enc := eventEncoder{forms: c.h.forms, kind: c.kind, form: f, include: include}
	for {
		event, err := watcher.Next(ctx)
		var frame []byte
		switch {
		case err == nil:
			frame, err = enc.event(event)
		case errors.Is(err, io.EOF) || ctx.Err() != nil:
			return nil
		}
		ended := err != nil
		if ended {
			if frame, err = enc.failure(err); err != nil {
				return err
			}
		}
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout)) // not every writer has deadlines
		if _, err := c.w.Write(frame); err != nil {
			return nil // the client is gone
		}
		if err := control.Flush(); err != nil || ended {
			return nil
		}
	}
}

// eventEncoder turns events into frames. It belongs to one stream.
type eventEncoder struct {
	forms   *forms
	kind    *kind.Kind
	form    form
	include table.Include
	headed  bool // the column definitions were sent
}

func (e *eventEncoder) event(ev client.Event) ([]byte, error) {
	obj, forms := ev.Object, e.forms
	if ev.Type == client.Bookmark {
		obj, forms = e.kind.New(), nil // nobody else gets this one
		e.kind.Stamp(obj)
		obj.SetResourceVersion(client.FormatRevision(ev.Revision))
		if ev.InitialEventsEnd {
			obj.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
		}
	}
	data, err := e.object(obj, forms)
	if err != nil {
		return nil, err
	}
	return e.frame(string(ev.Type), data)
}

// object encodes an event's object in the stream's form.
func (e *eventEncoder) object(obj kind.Instance, forms *forms) ([]byte, error) {
	switch e.form.as {
	case asTable:
		t, err := table.Of(e.kind, []kind.Instance{obj}, e.include, time.Now())
		if err != nil {
			return nil, err
		}
		if e.headed {
			t.ColumnDefinitions = nil
		}
		e.headed = true
		t.ResourceVersion = obj.GetResourceVersion()
		return json.Marshal(t)
	case asPartial, asPartials:
		p := table.Partial(obj)
		if e.form.media == mediaProtobuf {
			return envelope(p.APIVersion, p.Kind, p)
		}
		return json.Marshal(p)
	}
	if e.form.media == mediaProtobuf {
		return forms.protobuf(e.kind, obj)
	}
	return forms.json(e.kind, obj)
}

// failure is the event that says why a stream ends.
func (e *eventEncoder) failure(err error) ([]byte, error) {
	s := statusOf(err)
	s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	var data []byte
	if e.form.media == mediaProtobuf {
		data, err = envelope("v1", "Status", &s)
	} else {
		data, err = json.Marshal(&s)
	}
	if err != nil {
		return nil, err
	}
	return e.frame("ERROR", data)
}

// frame wraps an event: a line of JSON, or a protobuf WatchEvent after its length in four bytes.
func (e *eventEncoder) frame(eventType string, object []byte) ([]byte, error) {
	if e.form.media != mediaProtobuf {
		out := make([]byte, 0, len(object)+len(eventType)+32)
		out = append(out, `{"type":"`...)
		out = append(out, eventType...)
		out = append(out, `","object":`...)
		out = append(out, object...)
		return append(out, "}\n"...), nil
	}
	ev := metav1.WatchEvent{Type: eventType, Object: runtime.RawExtension{Raw: object}}
	size := ev.Size()
	if size > math.MaxInt32 {
		return nil, fmt.Errorf("watch event of %d bytes is too large", size)
	}
	out := make([]byte, 4+size)
	binary.BigEndian.PutUint32(out, uint32(size))
	if _, err := ev.MarshalTo(out[4:]); err != nil {
		return nil, fmt.Errorf("encode watch event: %w", err)
	}
	return out, nil
}

func envelope(apiVersion, name string, m marshaler) ([]byte, error) {
	raw, err := m.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", name, err)
	}
	return kind.Envelope(apiVersion, name, raw)
}
