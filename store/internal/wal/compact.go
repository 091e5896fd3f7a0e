package wal

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// Compact makes the log in dir, which nobody has open, as small as it can be, and returns the bytes of its files before
// and after: nothing is left of entries that were dropped, cut or written over. It holds all other entries in memory
// meanwhile. It can be done again after it has failed; fs.ErrNotExist if there is no log.
func Compact(ctx context.Context, dir string) (before, after int64, err error) {
	l, err := Read(dir) // makes sure that there is one, and that it can be read
	if err != nil {
		return 0, 0, err
	}
	before, _ = l.LogSizes()
	if err := l.Close(); err != nil {
		return 0, 0, err
	}
	if l, err = Open(dir, leastBytes); err != nil {
		return 0, 0, err
	}
	err = errors.Join(l.compact(ctx), l.Close())
	after, _ = l.LogSizes()
	return before, after, err
}

// compact writes all entries again, in a segment of their own, and lets go of everything before.
func (l *Log) compact(ctx context.Context) error {
	entries, size, err := l.all(ctx)
	if err != nil {
		return err
	}
	if size > maxFrame {
		return fmt.Errorf("%s: %d bytes of entries can't be written again at once: %d is the most", l.dir, size, maxFrame)
	}
	return l.write(func() error {
		if err := l.removeFree(); err != nil { // what they hold must not become a part of the new segment
			return err
		}
		if _, err := l.roll(padded(size) + padded(0)); err != nil { // and what Close writes
			return err
		}
		if len(entries) > 0 {
			p, places := appendEntries(l.begin(size), entries)
			in, at, err := l.commit(p, kindAgain)
			if err != nil {
				return err
			}
			l.mu.Lock()
			l.state.again(in.place(places, at))
			l.mu.Unlock()
		}
		if err := l.release(); err != nil {
			return err
		}
		return l.removeFree()
	})
}

// removeFree removes the files that are kept to be used again.
func (l *Log) removeFree() error {
	for _, f := range l.free {
		if err := l.files.remove(f.name); err != nil {
			return err
		}
	}
	l.mu.Lock()
	l.free = nil
	l.mu.Unlock()
	return l.files.syncDir()
}

// all returns every entry, and the size of their frame.
func (l *Log) all(ctx context.Context) (entries []*raft.Log, size int, err error) {
	for i := l.state.first; i < l.state.next; i++ {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		e := new(raft.Log)
		if err := l.GetLog(i, e); err != nil {
			return nil, 0, err
		}
		if size += entryHead + len(e.Data) + len(e.Extensions); size > maxFrame {
			return nil, size, nil
		}
		entries = append(entries, e)
	}
	return entries, size, nil
}
