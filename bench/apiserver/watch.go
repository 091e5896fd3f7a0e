package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/keelson-dev/keelson/bench/internal/measure"
)

// A stamp says when a write began, in a form that is found in an encoded object: the mark, and nanoseconds in 16 hexadecimal digits.
const (
	stampMark = "@bench@"
	stampSize = len(stampMark) + 16
)

func stamp(at time.Time) string { return fmt.Sprintf("%s%016x", stampMark, at.UnixNano()) }

// stamped finds a stamp's time.
func stamped(data []byte) (time.Time, bool) {
	at := bytes.Index(data, []byte(stampMark))
	if at < 0 || at+stampSize > len(data) {
		return time.Time{}, false
	}
	ns, err := strconv.ParseInt(string(data[at+len(stampMark):at+stampSize]), 16, 64)
	return time.Unix(0, ns), err == nil
}

// audience is watchers of one namespace of one server, that read until their context ends.
type audience struct {
	watching *dialed
	missing  atomic.Int64
	done     chan struct{} // has a value when missing has come down to 0
	failed   chan error
	reopened atomic.Int64 // watches that the server ended, and that went on from where they were
	readers  sync.WaitGroup

	mu    sync.Mutex
	times []time.Duration
}

// gather opens n watchers of what happens from a version on.
func gather(ctx context.Context, d *dialed, n int, version string) (*audience, error) {
	a := &audience{watching: d, done: make(chan struct{}, 1), failed: make(chan error, 1)}
	bodies := make([]io.ReadCloser, n)
	_, err := measure.Each(ctx, min(n, 16), n, func(_ context.Context, _, i int) (err error) {
		bodies[i], err = openWatch(ctx, d.of(i).RESTClient(), version) // ctx: it goes on after Each
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, body := range bodies {
		a.readers.Go(func() { a.read(ctx, d.of(i).RESTClient(), body, version) })
	}
	return a, nil
}

func openWatch(ctx context.Context, client rest.Interface, version string) (io.ReadCloser, error) {
	return client.Get().Namespace(watchedNamespace).Resource("pods").SetHeader("Accept", protobufType).
		Param("watch", "true").Param("resourceVersion", version).Param("timeoutSeconds", "3600").Stream(ctx)
}

// read reads a watch. A server may end one that is slow: it is opened again from where it was.
func (a *audience) read(ctx context.Context, client rest.Interface, body io.ReadCloser, version string) {
	for {
		last, err := a.frames(body)
		_ = body.Close() // it was only read
		if ctx.Err() != nil {
			return
		}
		if version, err = nextVersion(last, version, err); err == nil {
			a.reopened.Add(1)
			body, err = openWatch(ctx, client, version)
		}
		if err != nil {
			if ctx.Err() == nil {
				select {
				case a.failed <- err:
				default:
				}
			}
			return
		}
	}
}

// frames reads a body to its end, and returns its last event.
func (a *audience) frames(body io.Reader) (last []byte, err error) {
	var header [4]byte
	var buffers [2][]byte
	for n := 0; ; n++ {
		if _, err := io.ReadFull(body, header[:]); err != nil {
			return last, err
		}
		size := int(binary.BigEndian.Uint32(header[:]))
		b := &buffers[n%2]
		if cap(*b) < size {
			*b = make([]byte, size)
		}
		*b = (*b)[:size]
		if _, err := io.ReadFull(body, *b); err != nil {
			return last, err
		}
		last = *b
		began, found := stamped(last)
		if !found {
			return last, fmt.Errorf("bench: an event of no write: %.100q", last)
		}
		took := time.Since(began)
		a.mu.Lock()
		a.times = append(a.times, took)
		a.mu.Unlock()
		if a.missing.Add(-1) == 0 {
			a.done <- struct{}{}
		}
	}
}

// nextVersion is where a watch goes on that ended after an event.
func nextVersion(last []byte, version string, ended error) (string, error) {
	if !errors.Is(ended, io.EOF) && !errors.Is(ended, io.ErrUnexpectedEOF) || last == nil {
		return version, ended
	}
	pod, err := eventPod(last)
	if err != nil {
		return version, err
	}
	return pod.ResourceVersion, nil
}

// eventPod decodes an event: the event's own message has no envelope, its object has one.
func eventPod(frame []byte) (*corev1.Pod, error) {
	var event metav1.WatchEvent
	if err := event.Unmarshal(frame); err != nil {
		return nil, err
	}
	var envelope runtime.Unknown
	if err := envelope.Unmarshal(bytes.TrimPrefix(event.Object.Raw, []byte("k8s\x00"))); err != nil {
		return nil, err
	}
	pod := &corev1.Pod{}
	return pod, pod.Unmarshal(envelope.Raw)
}

var errUnseen = errors.New("bench: watchers lack events two minutes after the last write")

// perform writes at a pace and waits until all n watchers have seen every write.
func (a *audience) perform(ctx context.Context, writing *dialed, n, writes, pace int) (s measure.Sample, err error) {
	a.missing.Store(int64(n) * int64(writes))
	begin := time.Now()
	_, err = measure.Each(ctx, 16, writes, func(ctx context.Context, caller, i int) error {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(pace))))
		patch := fmt.Sprintf(`{"metadata":{"annotations":{"bench/at":"%s"}}}`, stamp(time.Now()))
		_, err := writing.of(caller).Pods(watchedNamespace).Patch(ctx, podName(i%watchedPods), types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	})
	if err != nil {
		return s, err
	}
	select {
	case <-a.done:
	case err := <-a.failed:
		return s, err
	case <-time.After(2 * time.Minute):
		return s, fmt.Errorf("%w: %d", errUnseen, a.missing.Load())
	case <-ctx.Done():
		return s, ctx.Err()
	}
	s = measure.Sample{Ops: n * writes, Elapsed: time.Since(begin)}
	a.mu.Lock()
	times := a.times
	a.times = nil
	a.mu.Unlock()
	s.P50, s.P99 = measure.Quantiles(times)
	return s, nil
}

// watchedPods is how many pods there are in the namespace that is watched.
const watchedPods = 16

// watch measures writes that many watchers see.
func (r *run) watch(ctx context.Context, all []*contender) (err error) {
	watching, cancel := context.WithCancel(ctx)
	clients := make([][2]*dialed, len(all))
	audiences := make([]*audience, len(all))
	defer func() {
		cancel()
		for i, d := range clients {
			err = errors.Join(err, d[0].close(), d[1].close())
			if audiences[i] != nil {
				audiences[i].readers.Wait()
			}
		}
	}()
	line := &row{subject: "watch", operation: fmt.Sprintf("events to %d watchers", r.watchers), load: load{r.watchers, r.watched}}
	for i, c := range all {
		if clients[i][0], err = c.dial(r.watched, false); err != nil {
			return err
		}
		if clients[i][1], err = c.dial(1, false); err != nil {
			return err
		}
		version := "1"
		if c.kind != floorKind {
			list, err := clients[i][1].of(0).Pods(watchedNamespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			version = list.ResourceVersion
		}
		_, before, err := c.memory(ctx)
		if err != nil {
			return err
		}
		if audiences[i], err = gather(watching, clients[i][0], r.watchers, version); err != nil {
			return fmt.Errorf("bench: %d watchers of %s: %w", r.watchers, c.kind, err)
		}
		_, after, err := c.memory(ctx)
		if err != nil {
			return err
		}
		line.memory(i, int64(after.Live+after.Stacks-before.Live-before.Stacks)/int64(r.watchers), 0)
	}
	return r.rounds(all, []*row{line}, func(i, _ int) ([]measure.Sample, error) {
		s, err := all[i].spent(func() (measure.Sample, error) {
			return audiences[i].perform(ctx, clients[i][1], r.watchers, r.writes, r.pace)
		})
		line.reopened[i] = audiences[i].reopened.Load()
		return []measure.Sample{s}, err
	})
}

// frame is an event that a server sends of a write with a stamp, for the floor to send.
func (c *contender) frame(ctx context.Context, d *dialed) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	list, err := d.of(0).Pods(watchedNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	body, err := openWatch(ctx, d.of(0).RESTClient(), list.ResourceVersion)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }() // it was only read
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"bench/at":"%s"}}}`, stamp(time.Now()))
	if _, err := d.of(0).Pods(watchedNamespace).Patch(ctx, podName(0), types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return nil, err
	}
	frame := make([]byte, 4)
	if _, err := io.ReadFull(body, frame); err != nil {
		return nil, err
	}
	frame = append(frame, make([]byte, binary.BigEndian.Uint32(frame))...)
	_, err = io.ReadFull(body, frame[4:])
	return frame, err
}
