package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load is what the requests of underLoad met.
type load struct {
	mu       sync.Mutex
	versions map[string]int
}

func (l *load) total() (n int) {
	for v := range maps.Values(l.versions) {
		n += v
	}
	return n
}

// underLoad sends requests from four clients, one after another without a pause, while f runs. A request that fails fails it.
func (d *demo) underLoad(ctx context.Context, f func() error) (*load, error) {
	l := &load{versions: make(map[string]int)}
	var stop atomic.Bool
	var wg sync.WaitGroup
	failures := make(chan error, 4)
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				a, err := d.ask(ctx)
				if err != nil {
					failures <- fmt.Errorf("a request failed: %w", err)
					return
				}
				l.mu.Lock()
				l.versions[a.version]++
				l.mu.Unlock()
			}
		})
	}
	err := f()
	stop.Store(true)
	wg.Wait()
	select {
	case failure := <-failures:
		return l, errors.Join(failure, err)
	default:
		return l, err
	}
}

// spread counts which pods answer n requests.
func (d *demo) spread(ctx context.Context, n int) (map[string]int, error) {
	out := make(map[string]int)
	for range n {
		a, err := d.ask(ctx)
		if err != nil {
			return nil, err
		}
		out[a.pod]++
	}
	return out, nil
}

// reached asks the Service until pods with these names, all of them and no others, have answered n requests in a row.
// Endpoints reach the proxy a moment after the API shows that the pods are ready.
func (d *demo) reached(ctx context.Context, n int, want []string) (map[string]int, error) {
	slices.Sort(want)
	var spread map[string]int
	var last error
	if err := poll(ctx, func() (bool, error) {
		spread, last = d.spread(ctx, n)
		return last == nil && slices.Equal(slices.Sorted(maps.Keys(spread)), want), nil
	}); err != nil {
		return nil, fmt.Errorf("%w: %d requests should reach %v, the last ones reached %v, %v", err, n, want, spread, last)
	}
	return spread, nil
}

// ask sends one request to the Service over a connection of its own, so that each is balanced.
func (d *demo) ask(ctx context.Context) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.service, nil)
	if err != nil {
		return answer{}, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("%s answered %s", d.service, resp.Status)
	}
	return parseAnswer(string(body))
}
