package https

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

const (
	readAhead = 64       // events
	maxFrame  = 16 << 20 // bytes of one event, as upstream clients
)

// Watch opens a stream of changes. It returns when the server has accepted it.
func (c *Client) Watch(ctx context.Context, req *client.Request) (client.Watcher, error) {
	if req.Kind == nil {
		return nil, errors.New("https: the request names no kind")
	}
	r := *req
	r.Verb = client.Watch
	if r.Name != "" { // a watch of one object is one of the collection with a selector
		r.List.FieldSelector = and(r.List.FieldSelector, "metadata.name="+r.Name)
	}
	m, err := c.encode(&r)
	if err != nil {
		return nil, err
	}
	if c.protobuf(r.Kind) {
		m.header.Set("Accept", mediaProtobuf+";stream=watch,"+mediaJSON)
	}
	ctx, cancel := context.WithCancel(ctx)
	resp, err := c.send(ctx, m)
	if err != nil {
		cancel()
		return nil, err
	}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || media != mediaJSON && media != mediaProtobuf {
		cancel()
		_ = resp.Body.Close()
		return nil, fmt.Errorf("watch %s: the server answered with %q, want %s or %s", r.Kind, resp.Header.Get("Content-Type"), mediaJSON, mediaProtobuf)
	}
	w := &watcher{cancel: cancel, events: make(chan client.Event, readAhead), done: make(chan struct{})}
	go w.read(ctx, resp.Body, newDecoder(r.Kind, media, resp.Body))
	return w, nil
}

func and(a, b string) string {
	if a == "" {
		return b
	}
	return a + "," + b
}

// watcher hands out what its goroutine reads.
type watcher struct {
	cancel context.CancelFunc
	events chan client.Event
	done   chan struct{} // closed when the goroutine has ended
	end    error         // why; set before events is closed
}

func (w *watcher) read(ctx context.Context, body io.ReadCloser, d *decoder) {
	defer close(w.done)
	defer close(w.events)
	defer w.cancel()
	defer func() { _ = body.Close() }()
	for {
		event, err := d.next()
		if err != nil {
			w.end = err
			if ctx.Err() != nil {
				w.end = context.Cause(ctx)
			}
			return
		}
		select {
		case w.events <- event:
		case <-ctx.Done():
			w.end = context.Cause(ctx)
			return
		}
	}
}

// Next waits for the next event.
func (w *watcher) Next(ctx context.Context) (client.Event, error) {
	if err := ctx.Err(); err != nil {
		return client.Event{}, err
	}
	select {
	case event, ok := <-w.events:
		if !ok {
			return client.Event{}, w.end
		}
		return event, nil
	case <-ctx.Done():
		return client.Event{}, ctx.Err()
	}
}

// Close ends the stream and waits for its goroutine.
func (w *watcher) Close() error {
	w.cancel()
	<-w.done
	return nil
}

// decoder reads events from a stream.
type decoder struct {
	kind  *kind.Kind
	lines *json.Decoder // JSON, or
	raw   *bufio.Reader // protobuf
	limit *limited
}

// limited fails a read that goes past what one event may have.
type limited struct {
	r    io.Reader
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("an event is longer than %d bytes", maxFrame)
	}
	if len(p) > l.left {
		p = p[:l.left]
	}
	n, err := l.r.Read(p)
	l.left -= n
	return n, err
}

func newDecoder(k *kind.Kind, media string, r io.Reader) *decoder {
	d := &decoder{kind: k, limit: &limited{r: r}}
	if media == mediaProtobuf {
		d.raw = bufio.NewReader(r)
	} else {
		d.lines = json.NewDecoder(d.limit)
	}
	return d
}

// next reads one event. io.EOF means that the stream ended between two events.
func (d *decoder) next() (client.Event, error) {
	eventType, object, err := d.frame()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return client.Event{}, io.EOF
		}
		return client.Event{}, fmt.Errorf("watch %s: %w", d.kind, err)
	}
	if eventType == "ERROR" {
		return client.Event{}, d.failure(object)
	}
	ev := client.Event{Type: client.EventType(eventType)}
	switch ev.Type {
	case client.Added, client.Modified, client.Deleted, client.Bookmark:
	default:
		return client.Event{}, fmt.Errorf("watch %s: %q is no event type", d.kind, eventType)
	}
	obj, err := d.kind.Decode(object)
	if err != nil {
		return client.Event{}, fmt.Errorf("watch %s: %w", d.kind, err)
	}
	if ev.Revision, err = client.ParseRevision(obj.GetResourceVersion()); err != nil {
		return client.Event{}, fmt.Errorf("watch %s: %w", d.kind, err)
	}
	if ev.Type == client.Bookmark {
		ev.InitialEventsEnd = obj.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true"
	} else {
		ev.Object = obj
	}
	return ev, nil
}

func (d *decoder) frame() (string, []byte, error) {
	if d.lines != nil {
		var ev struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		d.limit.left = maxFrame
		err := d.lines.Decode(&ev)
		return ev.Type, ev.Object, err
	}
	var head [4]byte
	if _, err := io.ReadFull(d.raw, head[:]); err != nil {
		return "", nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxFrame {
		return "", nil, fmt.Errorf("an event of %d bytes is longer than %d", size, maxFrame)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(d.raw, data); err != nil {
		return "", nil, fmt.Errorf("the stream broke off inside an event: %w", noEOF(err))
	}
	var ev metav1.WatchEvent
	if err := ev.Unmarshal(data); err != nil {
		return "", nil, err
	}
	return ev.Type, ev.Object.Raw, nil
}

// noEOF keeps an end inside an event from being taken for the end of the stream.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (d *decoder) failure(object []byte) error {
	if d.raw != nil {
		return statusProtobuf(object)
	}
	var s metav1.Status
	if err := json.Unmarshal(object, &s); err != nil {
		return fmt.Errorf("watch %s: decode status: %w", d.kind, err)
	}
	return &apierrors.StatusError{ErrStatus: s}
}
