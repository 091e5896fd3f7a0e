package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/keelson-dev/keelson/bench/internal/measure"
)

// listForm is a way to list all pods.
type listForm struct {
	name, accept string
	limit        string
}

func listForms() []listForm {
	return []listForm{
		{name: "JSON", accept: jsonType}, {name: "protobuf", accept: protobufType},
		{name: "Table", accept: tableType}, {name: "Table by 500", accept: tableType, limit: "500"},
	}
}

// nextMark comes before the token of the next page, within the first bytes of a page.
const nextMark = `"continue":"`

// list reads all pods once, page by page, and returns how many bytes they were when decompressed.
func (f listForm) list(ctx context.Context, client rest.Interface) (int64, error) {
	var size int64
	for next := ""; ; {
		req := client.Get().Namespace(namespace).Resource("pods").SetHeader("Accept", f.accept)
		for name, value := range f.query(next) {
			req = req.Param(name, value[0])
		}
		body, err := req.Stream(ctx)
		if err != nil {
			return size, err
		}
		page, token, err := drain(body)
		if err = errors.Join(err, body.Close()); err != nil {
			return size, err
		}
		size += page
		if token == "" || f.limit == "" {
			return size, nil
		}
		next = token
	}
}

func (f listForm) query(next string) url.Values {
	q := url.Values{}
	if f.limit != "" {
		q.Set("limit", f.limit)
	}
	if next != "" {
		q.Set("continue", next)
	}
	return q
}

// drain reads to the end and finds the token of the next page.
func drain(body io.Reader) (size int64, next string, err error) {
	head := make([]byte, 4<<10)
	n, err := io.ReadFull(body, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return int64(n), "", err
	}
	next = nextPage(head[:n])
	rest, err := io.Copy(io.Discard, body)
	return int64(n) + rest, next, err
}

func nextPage(head []byte) string {
	_, after, found := bytes.Cut(head, []byte(nextMark))
	if !found {
		return ""
	}
	token, _, _ := bytes.Cut(after, []byte(`"`))
	return string(token)
}

// capture has a server answer every list once, as the floor is to answer it: with and without gzip, page by page.
func (c *contender) capture(ctx context.Context, transport http.RoundTripper) (map[string]Answer, error) {
	all := map[string]Answer{}
	for _, form := range listForms() {
		var plain []string // the tokens, from pages that are not compressed
		for _, encoding := range []string{"", "gzip"} {
			for page, next := 0, ""; ; page++ {
				query := form.query(next)
				a, err := c.fetch(ctx, transport, form.accept, encoding, "/api/v1/namespaces/"+namespace+"/pods?"+query.Encode())
				if err != nil {
					return nil, err
				}
				all[listKey(form.accept, encoding, query)] = a
				if encoding == "" && form.limit != "" {
					plain = append(plain, nextPage(a.Body[:min(len(a.Body), 4<<10)]))
				}
				if page >= len(plain) || plain[page] == "" {
					break
				}
				next = plain[page]
			}
		}
	}
	return all, nil
}

// transport takes answers as they are sent.
func (c *contender) transport() (*http.Transport, error) {
	config, err := c.credentials.tls()
	return &http.Transport{TLSClientConfig: config, DisableCompression: true, ForceAttemptHTTP2: true}, err
}

func (c *contender) fetch(ctx context.Context, transport http.RoundTripper, accept, encoding, path string) (a Answer, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return a, err
	}
	req.Header.Set("Accept", accept)
	if encoding != "" {
		req.Header.Set("Accept-Encoding", encoding)
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return a, err
	}
	a = Answer{Type: res.Header.Get("Content-Type"), Encoding: res.Header.Get("Content-Encoding")}
	a.Body, err = io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("bench: %s: %s: %s", path, res.Status, strings.TrimSpace(string(a.Body[:min(len(a.Body), 200)])))
	}
	return a, err
}

// lists measures one form at all servers.
func (r *run) lists(ctx context.Context, all []*contender, form listForm, callers int, plain bool) (err error) {
	clients := make([]*dialed, len(all))
	defer func() {
		for _, d := range clients {
			err = errors.Join(err, d.close())
		}
	}()
	for i, c := range all {
		if clients[i], err = c.dial(callers, plain); err != nil {
			return err
		}
	}
	line := &row{subject: "list", operation: form.name, load: load{callers, callers}, plain: plain}
	return r.rounds(all, []*row{line}, func(i, _ int) ([]measure.Sample, error) {
		c, d := all[i], clients[i]
		before, err := c.allocated()
		if err != nil {
			return nil, err
		}
		s, grown, err := c.peak(func() (measure.Sample, error) {
			return c.spent(func() (measure.Sample, error) {
				return measure.Drive(ctx, callers, r.round, 1, func(ctx context.Context, caller int, _ *rand.Rand) error {
					size, err := form.list(ctx, d.of(caller).RESTClient())
					line.size(i, size)
					return err
				})
			})
		})
		if err != nil {
			return nil, err
		}
		after, err := c.allocated()
		line.memory(i, grown/int64(callers), int64(after-before)/int64(max(1, s.Ops)))
		return []measure.Sample{s}, err
	})
}
