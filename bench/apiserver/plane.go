package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/bench/internal/measure"
)

// plane is Keelson as a user runs it.
type plane struct {
	cluster *keelson.Cluster
	end     context.CancelFunc
	ended   chan error
	made    atomic.Int64 // pods that jobs have created
}

func openKeelson(ctx context.Context, o Order) (server, error) {
	cfg := keelson.Config{DataDir: filepath.Join(o.Dir, "data"), Listen: o.Addr, Without: keelson.Controllers | keelson.Scheduler}
	if o.Whole {
		cfg.Without = 0
	}
	cluster, err := keelson.New(cfg)
	if err != nil {
		return nil, err
	}
	running, end := context.WithCancel(context.Background())
	p := &plane{cluster: cluster, end: end, ended: make(chan error, 1)}
	go func() { p.ended <- cluster.Run(running) }()
	if err := cluster.Ready(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *plane) Close() error {
	p.end()
	return <-p.ended
}

// Job is a round of an in-process row.
type Job struct {
	Operation     string // create or get
	Callers, Pods int
	Duration      time.Duration
}

func (p *plane) run(j Job) (measure.Sample, error) {
	pods := client.For(p.cluster.Client(), kind.Pod)
	ctx := context.Background()
	switch j.Operation {
	case "create":
		return measure.Drive(ctx, j.Callers, j.Duration, 1, func(ctx context.Context, _ int, r *rand.Rand) error {
			n := p.made.Add(1)
			_, err := pods.Create(ctx, newPod(namespace, fmt.Sprintf("inside-%d", n), r.IntN(templates), false))
			return err
		})
	case "get":
		// A look at the clock takes a good part of the time of a get. A get from the cache is one of any version, as an informer's is.
		anyVersion := client.FromRevision(0)
		return measure.Drive(ctx, j.Callers, j.Duration, 64, func(ctx context.Context, _ int, r *rand.Rand) error {
			pod, err := pods.Get(ctx, namespace, podName(r.IntN(j.Pods)), anyVersion)
			if err == nil && pod.Status.Phase != corev1.PodRunning {
				err = errors.New("bench: a pod that was filled in does not run")
			}
			return err
		})
	}
	return measure.Sample{}, fmt.Errorf("bench: no job %q", j.Operation)
}
