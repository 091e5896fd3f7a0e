package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/keelson-dev/keelson/bench/internal/measure"
)

// footprint is the memory that keys take and the time that a start takes with them.
type footprint struct {
	keys int
	// By kind: bytes resident as the fill has left them, and after a garbage collection, of which anonymous.
	resident, collected, anonymous [2]int64
	// first is the time from the start of the process' server to its first write, on an empty directory and on the
	// one that holds the keys.
	empty, first [2]time.Duration
}

// footprints measures memory and starts, one kind after the other in rounds.
func (r *run) footprints(ctx context.Context) error {
	for _, keys := range []int{r.keys, r.manyKeys} {
		f := footprint{keys: keys}
		for i := range 2 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := r.footprintOf(&f, i); err != nil {
				return err
			}
		}
		r.report.footprints = append(r.report.footprints, f)
	}
	return nil
}

func (r *run) footprintOf(f *footprint, i int) (err error) {
	kind := kinds()[i]
	dir := filepath.Join(r.dir, "footprint")
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var starts []time.Duration
	for n := range 5 {
		c, err := startCluster(kind, 1, filepath.Join(dir, fmt.Sprint(n)), 0, true)
		if err != nil {
			return err
		}
		starts = append(starts, c.first)
		if err := c.stop(); err != nil {
			return err
		}
	}
	f.empty[i] = measure.Median(starts)
	c, err := startCluster(kind, 1, dir, 0, true)
	if err != nil {
		return err
	}
	t, err := dialRemote(c.endpoints(), 1)
	if err != nil {
		return errors.Join(err, c.stop())
	}
	err = fillAll(context.Background(), t, makeKeys(keyPrefix, f.keys))
	if err = errors.Join(err, t.close()); err != nil {
		return errors.Join(err, c.stop())
	}
	asIs, err := c.used(false)
	if err != nil {
		return errors.Join(err, c.stop())
	}
	after, err := c.used(true)
	if err = errors.Join(err, c.stop()); err != nil {
		return err
	}
	f.resident[i], f.collected[i], f.anonymous[i] = asIs.Resident, after.Resident, after.Anonymous
	starts = starts[:0]
	for range 3 {
		if c, err = startCluster(kind, 1, dir, 0, true); err != nil {
			return err
		}
		starts = append(starts, c.first)
		if err := c.stop(); err != nil {
			return err
		}
	}
	f.first[i] = measure.Median(starts)
	r.say("%s with %d keys: %d MB, %d MB collected; first write after %v, %v on an empty directory",
		kind, f.keys, f.resident[i]>>20, f.collected[i]>>20, f.first[i].Round(time.Millisecond), f.empty[i].Round(time.Millisecond))
	return nil
}
