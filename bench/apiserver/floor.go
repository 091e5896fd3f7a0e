package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// floor answers from memory with no work: what was answered by keelson.
type floor struct {
	server  *http.Server
	served  chan error
	answers atomic.Pointer[Answers]

	mu      sync.Mutex
	streams map[*floorStream]bool
}

// Answers is what the floor answers.
type Answers struct {
	// Pod is one pod in protobuf, for every request for one object.
	Pod Answer
	// Lists are lists by listKey.
	Lists map[string]Answer
	// Frame is the event of a write, with a stamp in it.
	Frame []byte
}

// Answer is one answer. Body is as it is sent.
type Answer struct {
	Type, Encoding string
	Body           []byte
}

// listKey is what the answer to a list depends on.
func listKey(accept, encoding string, query url.Values) string {
	gzip := ""
	if strings.Contains(encoding, "gzip") {
		gzip = " gzip"
	}
	return accept + " " + query.Get("limit") + " " + query.Get("continue") + gzip
}

// floorStream is a watch: the frames on their way to it.
type floorStream struct {
	queue [][]byte
	wake  chan struct{}
}

func openFloor(o Order) (server, error) {
	identity, err := o.Identity.TLS()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(o.CA) {
		return nil, errors.New("bench: the floor's authority is no certificate")
	}
	l, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, err
	}
	f := &floor{streams: map[*floorStream]bool{}, served: make(chan error, 1)}
	f.answers.Store(&Answers{})
	f.server = &http.Server{Handler: f, TLSConfig: &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{identity}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven,
	}}
	go func() { f.served <- f.server.ServeTLS(l, "", "") }()
	return f, nil
}

func (f *floor) Close() error {
	err := f.server.Close()
	if served := <-f.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// ServeHTTP implements http.Handler.
func (f *floor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := f.answers.Load()
	answer, code := a.Pod, http.StatusOK
	switch r.Method {
	case http.MethodGet:
		switch {
		case r.URL.Path == "/readyz":
			return
		case r.URL.Query().Get("watch") != "":
			f.watch(w, r)
			return
		case strings.HasSuffix(r.URL.Path, "/pods"):
			var found bool
			if answer, found = a.Lists[listKey(r.Header.Get("Accept"), r.Header.Get("Accept-Encoding"), r.URL.Query())]; !found {
				http.NotFound(w, r)
				return
			}
		}
	case http.MethodPost:
		code = http.StatusCreated
		fallthrough
	default:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f.publish(a.Frame, body)
	}
	h := w.Header()
	h.Set("Content-Type", answer.Type)
	if answer.Encoding != "" {
		h.Set("Content-Encoding", answer.Encoding)
	}
	h.Set("Content-Length", strconv.Itoa(len(answer.Body)))
	w.WriteHeader(code)
	_, _ = w.Write(answer.Body) // a client that is gone needs no answer
}

// publish sends the event of a write to every watch, if the write has a stamp.
func (f *floor) publish(frame, body []byte) {
	at := bytes.Index(body, []byte(stampMark))
	to := bytes.Index(frame, []byte(stampMark))
	if at < 0 || to < 0 {
		return
	}
	event := bytes.Clone(frame)
	copy(event[to:to+stampSize], body[at:])
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.streams {
		s.queue = append(s.queue, event)
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

func (f *floor) watch(w http.ResponseWriter, r *http.Request) {
	s := &floorStream{wake: make(chan struct{}, 1)}
	f.mu.Lock()
	f.streams[s] = true
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.streams, s)
		f.mu.Unlock()
	}()
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", protobufStream)
	for {
		if control.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.wake:
		}
		f.mu.Lock()
		queue := s.queue
		s.queue = nil
		f.mu.Unlock()
		for _, frame := range queue {
			if _, err := w.Write(frame); err != nil {
				return
			}
		}
	}
}
