package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/keelson-dev/keelson/bench/internal/measure"
)

const (
	definitionsPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	definitionForm  = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"%[1]ss.bench.keelson.dev"},
"spec":{"group":"bench.keelson.dev","scope":"Namespaced","names":{"plural":"%[1]ss","singular":"%[1]s","kind":"W%[1]s","listKind":"W%[1]sList"},
"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{
"spec":{"type":"object","properties":{"replicas":{"type":"integer","minimum":0},"image":{"type":"string"}}}}}}}]}}`
	definedForm = `{"apiVersion":"bench.keelson.dev/v1","kind":"W%[1]s","metadata":{"name":"first"},"spec":{"replicas":1,"image":"a"}}`
)

// definitions measures the time from the request that creates a CustomResourceDefinition to the answer to the first object that was
// created of its kind. A client tries that again every millisecond. A server that serves no definitions has no figure.
func (r *run) definitions(ctx context.Context, all []*contender) error {
	line := &row{subject: "crd", operation: "CustomResourceDefinition to first object", load: load{1, 1}}
	err := r.rounds(all, []*row{line}, func(i, round int) ([]measure.Sample, error) {
		var s measure.Sample
		for n := range r.crds {
			took, err := all[i].define(ctx, fmt.Sprintf("kind%dx%d", round, n))
			if errors.Is(err, errNoDefinitions) {
				return []measure.Sample{{}}, nil
			}
			if err != nil {
				return nil, err
			}
			s.Ops++
			s.Elapsed += took
			s.P50, s.P99 = took, max(s.P99, took)
		}
		return []measure.Sample{s}, nil
	})
	return err
}

var errNoDefinitions = errors.New("bench: the server has no CustomResourceDefinitions")

func (c *contender) define(ctx context.Context, name string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	transport, err := c.transport()
	if err != nil {
		return 0, err
	}
	defer transport.CloseIdleConnections()
	begin := time.Now()
	code, answer, err := c.post(ctx, transport, definitionsPath, fmt.Sprintf(definitionForm, name))
	switch {
	case err != nil:
		return 0, err
	case code == http.StatusNotFound:
		return 0, errNoDefinitions
	case code != http.StatusCreated:
		return 0, fmt.Errorf("bench: create a definition: %d %s", code, answer)
	}
	path := "/apis/bench.keelson.dev/v1/namespaces/" + namespace + "/" + name + "s"
	for {
		code, answer, err := c.post(ctx, transport, path, fmt.Sprintf(definedForm, name))
		if err != nil {
			return 0, err
		}
		if code == http.StatusCreated {
			return time.Since(begin), nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("bench: create an object of a definition: %d %s", code, answer)
		case <-time.After(time.Millisecond):
		}
	}
}

func (c *contender) post(ctx context.Context, transport http.RoundTripper, path, body string) (code int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", jsonType)
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	answer, err = io.ReadAll(io.LimitReader(res.Body, 1<<16))
	return res.StatusCode, answer, errors.Join(err, res.Body.Close())
}
