package controller

import (
	"container/list"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

const (
	maxPendingEvents = 1000
	maxKnownEvents   = 4096
	maxEventMessage  = 1024 // bytes; the server's limit on an event's note
	eventAttempts    = 3
	nameAttempts     = 16
	eventFlush       = time.Second // how long Run goes on writing what is pending when its context has ended
)

// Recorder writes events about objects. Recording never blocks: events are written by Run in the background, and
// dropped when too many are pending. An event that repeats one is counted in the first. It is safe for concurrent use.
type Recorder struct {
	client          client.Client
	component, host string
	logger          *zap.Logger
	running         atomic.Bool
	wake            chan struct{} // holds a token while events may be pending

	mu      sync.Mutex
	pending []occurrence
	busy    bool
	dropped int
	quiet   []chan struct{} // closed when nothing is pending

	known  map[eventID]*list.Element // of *knownEvent; this and the following are Run's alone
	recent list.List                 // most recently used first
	last   int64                     // number in the last event's name
}

type occurrence struct {
	about   corev1.ObjectReference
	kind    string // Normal or Warning
	reason  string
	message string
	at      time.Time
}

// eventID is what makes two occurrences the same event.
type eventID struct {
	apiVersion, kind, namespace, name string
	uid                               types.UID
	typ, reason, message              string
}

type knownEvent struct {
	id              eventID
	namespace, name string
	count           int32
}

// NewRecorder makes a recorder for one component, such as "scheduler"; host may be empty. Run writes the events.
func NewRecorder(c client.Client, component, host string) *Recorder {
	return &Recorder{
		client: c, component: component, host: host, logger: zap.NewNop(),
		wake: make(chan struct{}, 1), known: map[eventID]*list.Element{},
	}
}

// Event records that something happened to obj. eventtype is corev1.EventTypeNormal or EventTypeWarning, reason a
// CamelCase word, the message a sentence for people, formatted as by fmt.Sprintf. obj is not kept.
func (r *Recorder) Event(obj kind.Instance, eventtype, reason, message string, args ...any) {
	if obj == nil {
		return
	}
	if len(args) > 0 {
		message = fmt.Sprintf(message, args...)
	}
	o := occurrence{referenceTo(obj), eventtype, reason, shorten(message), time.Now()}
	r.mu.Lock()
	if len(r.pending) == maxPendingEvents {
		r.dropped++
		r.mu.Unlock()
		return
	}
	r.pending = append(r.pending, o)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func referenceTo(obj kind.Instance) corev1.ObjectReference {
	gvk := obj.GetObjectKind().GroupVersionKind()
	if gvk.Kind == "" { // an object that the caller made by hand
		if t := reflect.TypeOf(obj); t.Kind() == reflect.Pointer {
			gvk.Kind = t.Elem().Name()
		}
	}
	apiVersion, name := gvk.ToAPIVersionAndKind()
	return corev1.ObjectReference{
		APIVersion: apiVersion, Kind: name, Namespace: obj.GetNamespace(), Name: obj.GetName(),
		UID: obj.GetUID(), ResourceVersion: obj.GetResourceVersion(),
	}
}

func shorten(s string) string {
	if len(s) <= maxEventMessage {
		return s
	}
	n := maxEventMessage - len("...")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

// Run writes events until ctx ends, then for at most a second what is still pending, and returns nil.
func (r *Recorder) Run(ctx context.Context) error {
	if r.running.Swap(true) {
		return fmt.Errorf("recorder of %s: %w", r.component, ErrAlreadyRun)
	}
	// Writes outlive ctx by a little, so that what led to the end is on record.
	writing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if pause(writing, eventFlush) {
			cancel()
		}
	})()
	for {
		for o, ok := r.take(); ok; o, ok = r.take() {
			if writing.Err() == nil {
				r.write(writing, o)
			}
			r.wrote()
		}
		if ctx.Err() != nil {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-r.wake:
		}
	}
}

func (r *Recorder) take() (occurrence, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending) == 0 {
		return occurrence{}, false
	}
	o := r.pending[0]
	r.pending = r.pending[1:]
	r.busy = true
	return o, true
}

func (r *Recorder) wrote() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy = false
	if len(r.pending) > 0 {
		return
	}
	for _, c := range r.quiet {
		close(c)
	}
	r.quiet = nil
	if r.dropped > 0 {
		r.logger.Warn("events dropped: they came faster than they could be written", zap.Int("dropped", r.dropped))
		r.dropped = 0
	}
}

// Idle waits until all recorded events have been written or given up.
func (r *Recorder) Idle(ctx context.Context) error {
	r.mu.Lock()
	if len(r.pending) == 0 && !r.busy {
		r.mu.Unlock()
		return nil
	}
	c := make(chan struct{})
	r.quiet = append(r.quiet, c)
	n := len(r.pending)
	r.mu.Unlock()
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("recorder of %s: %d events pending: %w", r.component, n, ctx.Err())
	}
}

func (r *Recorder) write(ctx context.Context, o occurrence) {
	retry := backoff{base: 100 * time.Millisecond, max: time.Second}
	for n := 1; ; n++ {
		err := r.store(ctx, o)
		if err == nil {
			return
		}
		if refused(err) || n == eventAttempts || !pause(ctx, retry.next()) {
			r.logger.Debug("event not written", zap.Error(err), zap.String("reason", o.reason), zap.String("object", o.about.Kind+" "+o.about.Namespace+"/"+o.about.Name))
			return
		}
	}
}

// store counts the event in one that is known, or creates it.
func (r *Recorder) store(ctx context.Context, o occurrence) error {
	events := client.For(r.client, kind.Event)
	id := eventID{o.about.APIVersion, o.about.Kind, o.about.Namespace, o.about.Name, o.about.UID, o.kind, o.reason, o.message}
	if e, ok := r.known[id]; ok {
		known := e.Value.(*knownEvent)
		patch, err := json.Marshal(map[string]any{"count": known.count + 1, "lastTimestamp": metav1.NewTime(o.at)})
		if err != nil {
			return err
		}
		_, err = events.Patch(ctx, known.namespace, known.name, types.MergePatchType, patch)
		if err == nil {
			known.count++
			r.recent.MoveToFront(e)
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
		r.recent.Remove(e) // it has expired: begin a new one
		delete(r.known, id)
	}
	event := r.eventOf(o)
	_, err := events.Create(ctx, event)
	for n := 0; apierrors.IsAlreadyExists(err) && n < nameAttempts; n++ {
		// Another component recorded something about this object at the same instant: in virtual time that is usual.
		event.Name = r.nameFor(o)
		_, err = events.Create(ctx, event)
	}
	if err != nil {
		return err
	}
	r.known[id] = r.recent.PushFront(&knownEvent{id, event.Namespace, event.Name, 1})
	if r.recent.Len() > maxKnownEvents {
		oldest := r.recent.Back()
		delete(r.known, r.recent.Remove(oldest).(*knownEvent).id)
	}
	return nil
}

func (r *Recorder) eventOf(o occurrence) *corev1.Event {
	event := kind.Event.New()
	event.Namespace = o.about.Namespace
	if event.Namespace == "" {
		event.Namespace = metav1.NamespaceDefault
	}
	event.Name = r.nameFor(o)
	event.InvolvedObject = o.about
	event.Type, event.Reason, event.Message = o.kind, o.reason, o.message
	event.Source = corev1.EventSource{Component: r.component, Host: r.host}
	event.ReportingController, event.ReportingInstance = r.component, r.host
	event.FirstTimestamp, event.LastTimestamp = metav1.NewTime(o.at), metav1.NewTime(o.at)
	event.Count = 1
	return event
}

// nameFor never gives a name twice.
func (r *Recorder) nameFor(o occurrence) string {
	r.last = max(r.last+1, o.at.UnixNano())
	return o.about.Name + "." + strconv.FormatInt(r.last, 16)
}
