package store_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

var (
	imageSeeds = flag.Uint64("image.seeds", 30, "number of crash images of each log store")
	imageSeed  = flag.Uint64("image.seed", 0, "the first of them")
)

const sector = 512

// diskModel is what a traced process wrote, and what of it is on disk for certain.
type diskModel struct {
	names, durable map[string]*tracedFile
	changes        []nameChange // since the sync of their directory
	lies           bool         // a sync does nothing
}

type tracedFile struct{ now, durable []byte }

type nameChange struct {
	from, to string
	file     *tracedFile
}

func newDiskModel() *diskModel {
	return &diskModel{names: map[string]*tracedFile{}, durable: map[string]*tracedFile{}}
}

func (c nameChange) do(names map[string]*tracedFile) {
	delete(names, c.from)
	if c.to != "" {
		names[c.to] = c.file
	}
}

func (d *diskModel) change(c nameChange) {
	c.do(d.names)
	d.changes = append(d.changes, c)
}

// apply does what a call did.
func (d *diskModel) apply(e traced) error {
	f := d.names[e.path]
	switch e.call {
	case "create", "make":
		if f == nil {
			d.change(nameChange{"", e.path, &tracedFile{}})
		} else if e.call == "create" {
			f.now = nil
		}
	case "rename":
		if f != nil {
			d.change(nameChange{e.path, e.to, f})
		}
	case "remove":
		d.change(nameChange{from: e.path})
	case "sync":
		if d.lies {
			return nil
		}
		if f != nil {
			f.durable = slices.Clone(f.now)
			return nil
		}
		d.changes = slices.DeleteFunc(d.changes, func(c nameChange) bool {
			here := filepath.Dir(c.from+c.to) == e.path || filepath.Dir(c.to) == e.path
			if here {
				c.do(d.durable)
			}
			return here
		})
	case "write", "size", "grow":
		if f == nil {
			return fmt.Errorf("%s of %s, which is not there", e.call, e.path)
		}
		end := int(e.at) + len(e.data)
		if end > len(f.now) {
			f.now = append(f.now, make([]byte, end-len(f.now))...)
		}
		copy(f.now[e.at:], e.data)
		if e.call == "size" {
			f.now = f.now[:e.at]
		}
	}
	return nil
}

// imageLoss is what an image lacks.
type imageLoss struct{ dropped, torn, kept, names, lacking, early int }

// image writes a directory as it might be after a power cut.
func (d *diskModel) image(t *testing.T, rnd *rand.Rand, from, to string, l *imageLoss) {
	names := maps.Clone(d.durable)
	kept := rnd.IntN(len(d.changes) + 1)
	l.names += len(d.changes) - kept
	for _, c := range d.changes[:kept] {
		c.do(names)
	}
	share := []int{0, 20, 50, 80, 100}[rnd.IntN(5)]
	for _, name := range slices.Sorted(maps.Keys(names)) {
		path := filepath.Join(to, strings.TrimPrefix(name, from))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, names[name].image(rnd, share, l), 0o600))
	}
}

func (f *tracedFile) image(rnd *rand.Rand, share int, l *imageLoss) []byte {
	size := len(f.durable)
	if rnd.IntN(2) == 0 {
		size = len(f.now)
	}
	content := make([]byte, size)
	copy(content, f.durable)
	for at := 0; at < len(f.now); at += sector {
		end := min(at+sector, len(f.now))
		if at < len(f.durable) && bytes.Equal(f.durable[at:min(at+sector, len(f.durable))], f.now[at:end]) {
			continue
		}
		switch {
		case rnd.IntN(100) >= share:
			l.dropped++
			continue
		case rnd.IntN(8) == 0:
			end = at + rnd.IntN(end-at)
			l.torn++
		default:
			l.kept++
		}
		if end > len(content) {
			content = append(content, make([]byte, end-len(content))...)
		}
		copy(content[at:end], f.now[at:end])
	}
	return content
}

// traceWriter runs the child and returns what it did.
func traceWriter(t *testing.T, logs string) (dir string, events []traced) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	return dir, traceChild(t, dir, logs)
}

func traceChild(t *testing.T, dir, logs string) []traced {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run=^$") // it ends with the thread that traces it
	cmd.Env = append(os.Environ(), tracedEnv+"="+dir, tracedLogEnv+"="+logs, "GODEBUG=asyncpreemptoff=1")
	cmd.Stderr = &bytes.Buffer{}
	return traceCalls(t, cmd, dir)
}

// TestCrashImages traces what a store writes, and opens it on what the disk may hold after a power cut at any moment.
func TestCrashImages(t *testing.T) {
	if testing.Short() {
		t.Skip("traces a process")
	}
	for logs, open := range openLogs() {
		t.Run(logs, func(t *testing.T) {
			dir, events := traceWriter(t, logs)
			var l imageLoss
			for seed := *imageSeed; seed < *imageSeed+*imageSeeds; seed++ {
				require.NoError(t, crashImage(t, dir, events, open, seed, false, &l), "-image.seed %d -image.seeds 1", seed)
			}
			t.Logf("%d calls, %+v", len(events), l)
			if *imageSeeds >= 30 {
				require.Positive(t, l.dropped, "no sector was dropped")
				require.Positive(t, l.torn, "no sector was torn")
				require.Positive(t, l.kept, "no sector that was not synced was kept")
				require.Positive(t, l.lacking, "no image lacked something that was proposed")
				require.Positive(t, l.early, "no image was of a store that was being made")
			}
			// With syncs that from some time on do nothing, all this must find that something is wrong.
			found, unnoticed := 0, 0
			for seed := range min(*imageSeeds, 30) {
				switch err := crashImage(t, dir, events, open, seed, true, &imageLoss{}); {
				case errors.Is(err, errLost):
					found++
					unnoticed++
				case err != nil:
					found++
				}
			}
			t.Logf("with a disk that lies: %d images show it, %d of them by a loss that the store did not notice", found, unnoticed)
			require.True(t, *imageSeeds < 30 || found > 5, "missing syncs were found %d times", found)
		})
	}
}

// TestOpenSyncs opens a log that may hold what a process wrote that died before its sync: that must be on disk before
// it is relied on. raft-boltdb happens to commit a transaction when it opens.
func TestOpenSyncs(t *testing.T) {
	if testing.Short() {
		t.Skip("traces a process")
	}
	for logs, file := range map[string]string{"bolt": "raft.db", "wal": "0000000000000001.wal"} {
		t.Run(logs, func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			require.NoError(t, err)
			traceChild(t, dir, openOnly+logs)
			synced := false
			for _, e := range traceChild(t, dir, openOnly+logs) {
				if e.call == "say" {
					break
				}
				synced = synced || e.call == "sync" && filepath.Base(e.path) == file
			}
			require.True(t, synced)
		})
	}
}

// errLost is that something acknowledged is not there.
var errLost = errors.New("lost")

// crashImage opens a store on one image. A disk that lies begins to at some time before.
func crashImage(t *testing.T, root string, events []traced, open func(string) (store.LogStore, error), seed uint64, lies bool, l *imageLoss) error {
	rnd := rand.New(rand.NewPCG(seed, 41))
	cut := 1 + rnd.IntN(len(events))
	made := slices.IndexFunc(events, func(e traced) bool { return e.call == "say" })
	if seed%3 == 0 {
		cut = 1 + rnd.IntN(made) // while the files are made
	}
	d := newDiskModel()
	liesFrom := len(events)
	if lies {
		liesFrom = rnd.IntN(cut)
	}
	proposed, acked := map[string]bool{}, map[string]int64{}
	opened := false
	for i, e := range events[:cut] {
		d.lies = i >= liesFrom
		if e.call != "say" {
			if err := d.apply(e); err != nil {
				return err
			}
			continue
		}
		for line := range strings.Lines(string(e.data)) {
			switch fields := strings.Fields(line); fields[0] {
			case "open":
				opened = true
			case "propose":
				proposed[fields[1]] = true
			case "ack":
				revision, err := strconv.ParseInt(fields[2], 10, 64)
				if err != nil {
					return err
				}
				acked[fields[1]] = revision
			}
		}
	}
	dir := t.TempDir()
	d.image(t, rnd, root, dir, l)
	if !opened {
		l.early++
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := store.Open(ctx, store.Config{Dir: dir, OpenLog: open})
	if err != nil {
		return fmt.Errorf("call %d: %w", cut, err)
	}
	err = checkImage(ctx, s, proposed, acked, l)
	if err != nil {
		err = fmt.Errorf("call %d: %w", cut, err)
	}
	return errors.Join(err, s.Close())
}

// checkImage looks for all that was acknowledged, and for what was never proposed, and writes.
func checkImage(ctx context.Context, s *store.Store, proposed map[string]bool, acked map[string]int64, l *imageLoss) error {
	res, err := s.Range(ctx, store.RangeRequest{Key: []byte{0}, End: []byte{0}})
	if err != nil {
		return err
	}
	found := map[string]store.KV{}
	for _, kv := range res.KVs {
		key := string(kv.Key)
		var caller, n int
		if _, err := fmt.Sscanf(key, "%d/%d", &caller, &n); err != nil || !proposed[key] {
			return fmt.Errorf("%q was never proposed", key)
		}
		if !bytes.Equal(kv.Value, tracedValue(caller, n)) || kv.Version != 1 {
			return fmt.Errorf("%q has another value, or was put %d times", key, kv.Version)
		}
		found[key] = kv
	}
	for key, revision := range acked {
		if kv, ok := found[key]; !ok || kv.ModRevision != revision {
			return fmt.Errorf("%w: %q was acknowledged at revision %d", errLost, key, revision)
		}
	}
	if len(found) < len(proposed) {
		l.lacking++
	}
	_, err = s.Put(ctx, store.PutRequest{Key: []byte("after")})
	return err
}
