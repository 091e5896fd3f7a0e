package logs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keelson-dev/keelson/kubelet/logs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ExampleParse() {
	r, err := logs.Parse([]byte("2026-01-02T03:04:05.6Z stderr F disk is full\n"))
	fmt.Println(r.Time.Format(time.Kitchen), r.Stream, r.Partial, string(r.Text), err)
	// Output: 3:04AM stderr false disk is full <nil>
}

// memory is a file that grows.
type memory struct {
	*strings.Reader
	info fs.FileInfo
}

func (memory) Close() error                 { return nil }
func (m memory) Stat() (fs.FileInfo, error) { return m.info, nil }

const sample = "2026-01-01T00:00:01Z stdout F one\n" +
	"2026-01-01T00:00:02Z stderr F two\n" +
	"garbage\n" +
	"2026-01-01T00:00:03.5Z stdout P thr\n" +
	"2026-01-01T00:00:03.6Z stdout F ee\n" +
	"2026-01-01T00:00:04Z stdout F four"

func num(n int64) *int64 { return &n }

func TestCopy(t *testing.T) {
	for name, tc := range map[string]struct {
		opts logs.Options
		want string
	}{
		"all":        {logs.Options{}, "one\ntwo\nthree\nfour\n"},
		"tail 1":     {logs.Options{Tail: num(1)}, "four\n"},
		"tail 3":     {logs.Options{Tail: num(3)}, "three\nfour\n"},
		"tail 0":     {logs.Options{Tail: num(0)}, ""},
		"tail many":  {logs.Options{Tail: num(99)}, "one\ntwo\nthree\nfour\n"},
		"since":      {logs.Options{Since: time.Date(2026, 1, 1, 0, 0, 4, 0, time.UTC)}, "four\n"},
		"stderr":     {logs.Options{Stream: "stderr"}, "two\n"},
		"limit":      {logs.Options{Limit: num(6)}, "one\ntw"},
		"limit 0":    {logs.Options{Limit: num(0)}, ""},
		"limit big":  {logs.Options{Limit: num(1000)}, "one\ntwo\nthree\nfour\n"},
		"timestamps": {logs.Options{Timestamps: true, Tail: num(3)}, "2026-01-01T00:00:03.5Z three\n2026-01-01T00:00:04Z four\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			open := func() (logs.File, error) { return memory{strings.NewReader(sample), nil}, nil }
			require.NoError(t, logs.Copy(t.Context(), &out, open, tc.opts))
			require.Equal(t, tc.want, out.String())
		})
	}
}

func TestTailOverManyBlocks(t *testing.T) {
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "2026-01-01T00:00:01Z stdout F line %d %s\n", i, strings.Repeat("x", i%200))
	}
	for _, n := range []int64{1, 2, 77, 4999, 5000, 5001} {
		var out bytes.Buffer
		require.NoError(t, logs.Copy(t.Context(), &out, func() (logs.File, error) { return memory{strings.NewReader(b.String()), nil}, nil },
			logs.Options{Tail: &n}))
		require.Equal(t, int(min(n, 5000)), strings.Count(out.String(), "\n"))
		require.Contains(t, out.String(), "line 4999 ")
	}
}

func TestFollowUntilTheContainerEnded(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "0.log")
	add := func(s string) {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		defer f.Close()
		_, err = f.WriteString(s)
		require.NoError(t, err)
	}
	synctest.Test(t, func(t *testing.T) {
		add("2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stdout F tw")
		var out bytes.Buffer
		var ended atomic.Bool
		done := make(chan error, 1)
		go func() {
			done <- logs.Copy(t.Context(), &out, func() (logs.File, error) { return os.Open(file) },
				logs.Options{Follow: true, Ended: ended.Load})
		}()
		synctest.Wait()
		require.Equal(t, "one\n", out.String())
		add("o\n")
		<-time.After(time.Second)
		synctest.Wait()
		require.Equal(t, "one\ntwo\n", out.String())

		require.NoError(t, os.Rename(file, file+".1"))
		add("2026-01-01T00:00:03Z stdout F rotated\n")
		<-time.After(time.Second)
		synctest.Wait()
		require.Equal(t, "one\ntwo\nrotated\n", out.String())

		add("2026-01-01T00:00:04Z stdout F last\n")
		ended.Store(true)
		require.NoError(t, <-done)
		require.Equal(t, "one\ntwo\nrotated\nlast\n", out.String())
	})
}

func TestFollowEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := logs.Copy(ctx, io.Discard, func() (logs.File, error) { return memory{strings.NewReader(sample), nil}, nil }, logs.Options{Follow: true})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
	err := logs.Copy(t.Context(), io.Discard, func() (logs.File, error) { return nil, fs.ErrNotExist }, logs.Options{})
	require.True(t, errors.Is(err, fs.ErrNotExist))
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("2026-01-01T00:00:01Z stdout F"))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := logs.Parse(line)
		if err == nil && (r.Stream != "stdout" && r.Stream != "stderr" || len(r.Text) > len(line)) {
			t.Fatal(r)
		}
	})
}
