package etcdapi

import (
	"sync/atomic"

	"github.com/keelson-dev/keelson/store"
)

const (
	cachedEvents = 1 << 10
	// maxCached is the size of the largest event that is worth keeping: of larger ones the bytes take longer to copy
	// than to find out.
	maxCached = 4 << 10
)

// eventCache keeps the encoded form of events, so that those that many watches see are encoded once. The store gives
// all its watchers the same versions, which are never changed: they are known by their address. The newest event takes
// the place of another one. It holds 4 MiB at the most.
type eventCache struct {
	places [cachedEvents]atomic.Pointer[encodedEvent]
	busy   atomic.Int64 // watches: with a single one nothing is kept
}

// encodedEvent is an event's versions and the bytes of the field of a WatchResponse that holds it.
type encodedEvent struct {
	kv, prev *store.KV
	kind     store.EventType
	bytes    []byte
}

func (c *eventCache) append(b []byte, e *store.Event) []byte {
	size := sizeEvent(e)
	if size > maxCached || c.busy.Load() < 2 {
		return appendEvent(b, e, size)
	}
	place := &c.places[(uint64(e.KV.ModRevision)*31+hashKey(e.KV.Key))%cachedEvents]
	if known := place.Load(); known != nil && known.kv == e.KV && known.prev == e.PrevKV && known.kind == e.Type {
		return append(b, known.bytes...)
	}
	at := len(b)
	b = appendEvent(b, e, size)
	place.Store(&encodedEvent{kv: e.KV, prev: e.PrevKV, kind: e.Type, bytes: append([]byte(nil), b[at:]...)})
	return b
}

// hashKey tells keys of one transaction apart.
func hashKey(key []byte) uint64 {
	var h uint64
	for _, c := range key[max(0, len(key)-8):] {
		h = h*31 + uint64(c)
	}
	return h
}

// sizeEvent is the size of an Event message.
func sizeEvent(e *store.Event) int {
	n := sizeVarint(uint64(e.Type)) + sizeNested(sizeKV(e.KV))
	if e.PrevKV != nil {
		n += sizeNested(sizeKV(e.PrevKV))
	}
	return n
}

// appendEvent adds an event of a size to a WatchResponse.
func appendEvent(b []byte, e *store.Event, size int) []byte {
	b = appendNested(b, 11, size)
	b = appendVarint(b, 1, uint64(e.Type))
	b = appendKV(b, 2, e.KV)
	if e.PrevKV != nil {
		b = appendKV(b, 3, e.PrevKV)
	}
	return b
}

// watchAppender is the response of a message with events.
type watchAppender struct {
	message watchMessage
	encoded *eventCache
}

// AppendTo implements transport.Appender.
func (a *watchAppender) AppendTo(b []byte) []byte {
	b = appendHeader(b, a.message.response.Header)
	b = appendVarint(b, 2, uint64(a.message.response.WatchId))
	for i := range a.message.events {
		b = a.encoded.append(b, &a.message.events[i])
	}
	return b
}

func (a *watchAppender) size() int {
	n := sizeNested(sizeHeader(a.message.response.Header)) + sizeVarint(uint64(a.message.response.WatchId))
	for i := range a.message.events {
		n += sizeNested(sizeEvent(&a.message.events[i]))
	}
	return n
}
