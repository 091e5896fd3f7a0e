package store

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// leastReserve is what is kept free at least, by default.
	leastReserve = 64 << 20
	// spaceInterval is how often the disk is asked what is free; spaceHurry when it may soon be too little.
	spaceInterval = time.Second
	spaceHurry    = 50 * time.Millisecond
	// spaceNear is how many times the reserve is near to it.
	spaceNear = 8
)

// diskSpace watches what the disk has free, so that writes stop before it is full: what is left is for the snapshots
// and deletes that make room.
type diskSpace struct {
	dir     string // empty: there is nothing to watch
	reserve int64  // Config.MinFreeBytes
	free    func(dir string) (int64, error)
	low     atomic.Bool
	left    atomic.Int64 // what was free when it was last asked; -1 if that is not known
}

func newDiskSpace(cfg *Config) *diskSpace {
	d := &diskSpace{dir: cfg.Dir, reserve: cfg.MinFreeBytes, free: cfg.free}
	if d.free == nil {
		d.free = freeBytes
	}
	d.left.Store(-1)
	return d
}

// least returns what must be free for a state of so many bytes. A snapshot takes less than those, and there are two
// while the older one is not removed yet.
func (d *diskSpace) least(bytes int64) int64 {
	if d.reserve > 0 {
		return d.reserve
	}
	return max(leastReserve, 2*bytes)
}

// look takes note of whether the directory is there and of what is free, and returns how long that may hold. What can't be known stops nobody. Once there is
// too little there must be an eighth more before writes are taken again.
func (d *diskSpace) look(s *Store) time.Duration {
	if files, ok := s.engine.(interface{ lost() bool }); ok && files.lost() || d.reserve < 0 {
		return spaceInterval
	}
	free, err := d.free(d.dir)
	if err != nil {
		d.left.Store(-1)
		d.low.Store(false)
		return spaceInterval
	}
	d.left.Store(free)
	least := d.least(s.current.Load().bytes)
	was := d.low.Load()
	now := free < least || was && free < least+least/8
	d.low.Store(now)
	switch {
	case now && !was:
		s.cfg.Logger.Sugar().Errorf("%s: the disk has %d bytes free, and %d are kept in reserve: puts are refused", d.dir, free, least)
	case was && !now:
		s.cfg.Logger.Sugar().Infof("%s: the disk has %d bytes free again: puts are taken", d.dir, free)
	}
	if free < spaceNear*least {
		return spaceHurry
	}
	return spaceInterval
}

// run looks again and again until ctx ends. A disk that hangs does not hold it up.
func (d *diskSpace) run(ctx context.Context, s *Store) {
	if d.dir == "" {
		return
	}
	looked := make(chan time.Duration, 1)
	for {
		go func() { looked <- d.look(s) }()
		var delay time.Duration
		select {
		case delay = <-looked:
		case <-ctx.Done():
			return
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}
