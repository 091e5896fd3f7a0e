package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// Options select what Copy writes. The zero value is the whole file.
type Options struct {
	Tail       *int64    // so many lines from the end; nil means all
	Since      time.Time // no record before; zero means all
	Stream     string    // stdout or stderr; empty means both
	Timestamps bool      // begin each line with its time
	Limit      *int64    // so many bytes at most; nil means no limit

	// Follow goes on with what is written later, until Ended says that nothing more will be.
	Follow bool
	Ended  func() bool // nil means never
	// Poll is how often a followed file is looked at; zero means 100 ms.
	Poll time.Duration
}

// File is what Copy reads; *os.File is one.
type File interface {
	io.ReadSeekCloser
	Stat() (fs.FileInfo, error)
}

// errLimit ends a copy that reached its limit.
var errLimit = errors.New("limit reached")

// Copy writes the log that open opens to w. It returns nil at the end of the log or at the limit, and the error of ctx, of
// reading or of writing otherwise. While it follows, open is called again to notice a replaced file.
func Copy(ctx context.Context, w io.Writer, open func() (File, error), opts Options) error {
	c := &copier{w: w, opts: opts, fresh: true}
	if opts.Limit != nil {
		c.left = *opts.Limit
	}
	if opts.Poll <= 0 {
		c.opts.Poll = 100 * time.Millisecond
	}
	f, err := open()
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if opts.Tail != nil {
		if err := seekTail(f, *opts.Tail); err != nil {
			return err
		}
	}
	for {
		err := c.drain(ctx, f, !opts.Follow)
		if errors.Is(err, errLimit) {
			return nil
		}
		if err != nil || !opts.Follow {
			return err
		}
		if next := replaced(f, open); next != nil {
			if err := c.drain(ctx, f, true); err != nil && !errors.Is(err, errLimit) {
				_ = next.Close()
				return err
			}
			_ = f.Close()
			f = next
			continue
		}
		if c.last {
			return nil
		}
		// The end is noticed before the last look, so that nothing written until then is missed.
		if opts.Ended != nil && opts.Ended() {
			c.last = true
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(c.opts.Poll):
		}
	}
}

// replaced opens the log again when its file is another one by now.
func replaced(f File, open func() (File, error)) File {
	next, err := open()
	if err != nil {
		return nil
	}
	a, errA := f.Stat()
	b, errB := next.Stat()
	// Files that are no files of the system can't be told apart; they count as the same.
	if errA == nil && errB == nil && os.SameFile(a, a) && !os.SameFile(a, b) {
		return next
	}
	_ = next.Close()
	return nil
}

type copier struct {
	w     io.Writer
	opts  Options
	left  int64  // bytes that may still be written, when there is a limit
	rest  []byte // the beginning of a line whose end is not written yet
	fresh bool   // the next text begins a line
	last  bool   // the container has ended: this is the last look
}

// drain writes the records up to the file's present end. With all, a last line without an end counts.
func (c *copier) drain(ctx context.Context, f io.Reader, all bool) error {
	r := bufio.NewReaderSize(f, 32<<10)
	for n := 0; ; n++ {
		if n%64 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		line, err := r.ReadSlice('\n')
		c.rest = append(c.rest, line...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			if all && len(c.rest) > 0 {
				return c.write()
			}
			return nil
		case err != nil:
			return err
		}
		if err := c.write(); err != nil {
			return err
		}
	}
}

func (c *copier) write() error {
	rec, err := Parse(c.rest)
	defer func() { c.rest = c.rest[:0] }()
	if err != nil || rec.Time.Before(c.opts.Since) || c.opts.Stream != "" && rec.Stream != c.opts.Stream {
		return nil
	}
	var out []byte
	if c.opts.Timestamps && c.fresh {
		out = rec.Time.AppendFormat(out, time.RFC3339Nano)
		out = append(out, ' ')
	}
	out = append(out, rec.Text...)
	if !rec.Partial {
		out = append(out, '\n')
	}
	c.fresh = !rec.Partial
	if c.opts.Limit != nil {
		if int64(len(out)) >= c.left {
			_, err := c.w.Write(out[:c.left])
			return errors.Join(errLimit, err)
		}
		c.left -= int64(len(out))
	}
	_, err = c.w.Write(out)
	return err
}

// seekTail places f before its last n lines.
func seekTail(f io.ReadSeeker, n int64) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n <= 0 {
		return err
	}
	const block = 8 << 10
	buf := make([]byte, block)
	for pos := end; pos > 0; {
		size := min(pos, block)
		pos -= size
		if _, err := f.Seek(pos, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.ReadFull(f, buf[:size]); err != nil {
			return err
		}
		for i := size; i > 0; {
			i = int64(bytes.LastIndexByte(buf[:i], '\n'))
			if i < 0 {
				break
			}
			if pos+i == end-1 {
				continue // the end of the last line begins no other
			}
			if n--; n == 0 {
				_, err := f.Seek(pos+i+1, io.SeekStart)
				return err
			}
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}
