package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

const (
	// snapshotDir is the directory, in Config.Dir, that holds the snapshots.
	snapshotDir = "snapshots"
	// snapshotsKept is how many stay: the newest, and one to fall back on if that is damaged.
	snapshotsKept  = 2
	snapshotSuffix = ".snap"
	tempSuffix     = ".tmp"
)

// snapshotFiles is Raft's snapshot store: a sealed file each, named by term, index and a running number. A file has its
// name only when it is whole and on disk. It is verified chunk by chunk as it is read; one that turns out to be damaged
// is not offered again.
//
// While a member starts, Raft tries one file after the other. An older one is given only if the log goes on after it,
// and reaches as far as every newer one did: else what was acknowledged would be missing.
type snapshotFiles struct {
	dir    string // that of the snapshots
	home   uint64 // the id of the store's directory, which each file has too
	seal   *sealer
	logger *zap.Logger

	mu     sync.Mutex
	next   uint64                      // running number
	bad    map[string]error            // by file name: what is wrong with it
	covers func(from, to uint64) error // while starting: whether the log has all entries after from, up to to at least
	tried  string                      // while starting: the file that was given last
}

var _ snapshotStore = (*snapshotFiles)(nil)

// snapshotName is what a file's name says.
type snapshotName struct{ term, index, number uint64 }

const snapshotNameFormat = "%016x-%016x-%08x" + snapshotSuffix

func (n snapshotName) String() string {
	return fmt.Sprintf(snapshotNameFormat, n.term, n.index, n.number)
}

func parseSnapshotName(s string) (n snapshotName, ok bool) {
	_, err := fmt.Sscanf(s, snapshotNameFormat, &n.term, &n.index, &n.number)
	return n, err == nil && n.String() == s
}

func (n snapshotName) compare(o snapshotName) int {
	return cmp.Or(cmp.Compare(n.term, o.term), cmp.Compare(n.index, o.index), cmp.Compare(n.number, o.number))
}

// openSnapshotFiles makes the directory, if need be, and removes what was never finished. The caller holds the lock
// of the store's directory.
func openSnapshotFiles(dir string, home uint64, seal *sealer, logger *zap.Logger) (*snapshotFiles, error) {
	s := &snapshotFiles{dir: filepath.Join(dir, snapshotDir), home: home, seal: seal, logger: logger, bad: map[string]error{}}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	temps, err := filepath.Glob(filepath.Join(s.dir, "*"+tempSuffix))
	if err != nil {
		return nil, err
	}
	for _, path := range temps {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		s.next = max(s.next, n.number)
	}
	return s, nil
}

// names returns the snapshots, the newest first. What is something else is left alone, but for what another release
// may have taken for a snapshot.
func (s *snapshotFiles) names() (names []snapshotName, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		n, ok := parseSnapshotName(e.Name())
		switch {
		case ok:
			names = append(names, n)
		case e.IsDir() || strings.HasSuffix(e.Name(), snapshotSuffix):
			return nil, fmt.Errorf("%w: %s is no snapshot that this release knows", ErrVersion, filepath.Join(s.dir, e.Name()))
		}
	}
	slices.SortFunc(names, func(a, b snapshotName) int { return b.compare(a) })
	return names, nil
}

// startWith implements snapshotStore.
func (s *snapshotFiles) startWith(covers func(from, to uint64) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.covers, s.tried = covers, ""
}

// started implements snapshotStore.
func (s *snapshotFiles) started() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.covers = nil
	return s.trouble()
}

// trouble joins what is known to be wrong, in the order of the names. The caller holds the lock.
func (s *snapshotFiles) trouble() error {
	var all []error
	for _, name := range slices.Sorted(maps.Keys(s.bad)) {
		all = append(all, s.bad[name])
	}
	return errors.Join(all...)
}

func (s *snapshotFiles) badness(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bad[name]
}

// spoil takes note that a file can't be read.
func (s *snapshotFiles) spoil(name string, err error) error {
	err = fmt.Errorf("%s: %w", filepath.Join(s.dir, name), err)
	s.mu.Lock()
	first := s.bad[name] == nil
	if first {
		s.bad[name] = err
	}
	s.mu.Unlock()
	if first {
		s.logger.Sugar().Errorf("a snapshot can't be used: %v", err)
	}
	return err
}

// List implements raft.SnapshotStore. It fails if there are snapshots and none of them can be read.
func (s *snapshotFiles) List() (list []*raft.SnapshotMeta, err error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if s.badness(n.String()) != nil {
			continue
		}
		f, meta, _, err := s.head(n)
		if err != nil {
			_ = s.spoil(n.String(), err)
			continue
		}
		_ = f.Close()
		list = append(list, meta)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(names) > 0 && len(list) == 0 {
		return nil, s.trouble()
	}
	return list, nil
}

// head opens a file and reads its header.
func (s *snapshotFiles) head(n snapshotName) (_ *os.File, meta *raft.SnapshotMeta, h *sealedHeader, err error) {
	f, err := os.Open(filepath.Join(s.dir, n.String()))
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, nil, err
	}
	if h, err = readSealedHeader(f); err != nil {
		return nil, nil, nil, err
	}
	about, err := decodeSnapshotAbout(h.about)
	switch {
	case err != nil:
		return nil, nil, nil, err
	case about.meta.Term != n.term || about.meta.Index != n.index:
		return nil, nil, nil, fmt.Errorf("%w: it is of term %d and index %d", ErrCorrupt, about.meta.Term, about.meta.Index)
	case s.home != 0 && about.home != s.home:
		return nil, nil, nil, fmt.Errorf("%w: it belongs to the directory of id %016x, and this is %016x", ErrCorrupt, about.home, s.home)
	}
	meta = &about.meta
	meta.ID = n.String()
	meta.Size, err = h.contentSize(info.Size())
	return f, meta, h, err
}

// Open implements raft.SnapshotStore.
func (s *snapshotFiles) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	n, ok := parseSnapshotName(id)
	if !ok {
		return nil, nil, fmt.Errorf("%w: no snapshot %q", ErrInvalid, id)
	}
	if err := s.mayTry(n); err != nil {
		return nil, nil, err
	}
	f, meta, h, err := s.head(n)
	if err != nil {
		return nil, nil, s.spoil(id, err)
	}
	r, err := s.seal.newSealedReader(context.Background(), f, h)
	if err != nil {
		return nil, nil, errors.Join(s.spoil(id, err), f.Close())
	}
	return meta, &snapshotFile{r, f, s, id}, nil
}

// mayTry says whether a member that is starting may begin with a snapshot.
func (s *snapshotFiles) mayTry(n snapshotName) error {
	s.mu.Lock()
	covers, tried := s.covers, s.tried
	bad := maps.Clone(s.bad)
	if covers != nil {
		s.tried = n.String()
	}
	s.mu.Unlock()
	if covers == nil {
		return nil
	}
	if tried != "" && bad[tried] == nil {
		return fmt.Errorf("%w: %s was read whole and could not be restored", ErrCorrupt, filepath.Join(s.dir, tried))
	}
	to := uint64(0)
	for name, err := range bad {
		if !errors.Is(err, ErrCorrupt) {
			return err // a missing key, an unknown format: that is no damage to be passed over
		}
		if newer, ok := parseSnapshotName(name); ok && newer.compare(n) > 0 {
			to = max(to, newer.index)
		}
	}
	if to == 0 {
		return nil
	}
	if err := covers(n.index, to); err != nil {
		return fmt.Errorf("nor does the log go on after %s: %w", n, err)
	}
	s.logger.Sugar().Warnf("the member starts from the older snapshot %s, after which the log goes on", n)
	return nil
}

// snapshotFile is a snapshot that is being read.
type snapshotFile struct {
	*sealedReader
	file *os.File
	all  *snapshotFiles
	id   string
}

func (f *snapshotFile) Read(p []byte) (int, error) {
	n, err := f.sealedReader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, fs.ErrClosed) {
		err = f.all.spoil(f.id, err)
	}
	return n, err
}

func (f *snapshotFile) Close() error {
	if err := f.file.Close(); err != nil && !errors.Is(err, fs.ErrClosed) { // Raft closes twice
		return err
	}
	return nil
}

// Create implements raft.SnapshotStore.
func (s *snapshotFiles) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	s.mu.Lock()
	s.next++
	n := snapshotName{term, index, s.next}
	s.mu.Unlock()
	about := snapshotAbout{s.home, raft.SnapshotMeta{
		Version: version, Term: term, Index: index, Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}
	f, err := os.OpenFile(filepath.Join(s.dir, n.String()+tempSuffix), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	w, err := s.seal.newSealedWriter(context.Background(), f, about.encode())
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return &snapshotSink{sealedWriter: w, file: f, all: s, name: n}, nil
}

// snapshotSink is a snapshot that is being written.
type snapshotSink struct {
	*sealedWriter
	file *os.File
	all  *snapshotFiles
	name snapshotName
	over bool
}

// ID implements raft.SnapshotSink.
func (s *snapshotSink) ID() string { return s.name.String() }

// Close implements raft.SnapshotSink: the snapshot is on disk when it returns nil, and gone when not.
func (s *snapshotSink) Close() error {
	if s.over {
		return nil
	}
	err := s.sealedWriter.Close()
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return errors.Join(err, s.Cancel())
	}
	s.over = true
	if err := s.file.Close(); err != nil {
		return errors.Join(err, os.Remove(s.file.Name()))
	}
	if err := os.Rename(s.file.Name(), filepath.Join(s.all.dir, s.ID())); err != nil {
		return errors.Join(err, os.Remove(s.file.Name()))
	}
	if err := syncDirectory(s.all.dir); err != nil {
		return err
	}
	s.all.prune(snapshotsKept)
	return nil
}

// Cancel implements raft.SnapshotSink.
func (s *snapshotSink) Cancel() error {
	if s.over {
		return nil
	}
	s.over = true
	return errors.Join(s.file.Close(), os.Remove(s.file.Name()))
}

// prune removes all but the newest snapshots that are good as far as is known. What can't be removed now, such as a
// file that is being read on a system where that matters, is tried again after the next snapshot.
func (s *snapshotFiles) prune(keep int) {
	names, err := s.names()
	if err != nil {
		s.logger.Sugar().Warnf("old snapshots could not be looked up: %v", err)
		return
	}
	good := 0
	for _, n := range names {
		bad := s.badness(n.String()) != nil
		if !bad {
			good++
		}
		if good == 0 || !bad && good <= keep {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, n.String())); err != nil {
			s.logger.Sugar().Warnf("an old snapshot could not be removed: %v", err)
		}
	}
}

// snapshotAbout is what a snapshot's header says of it.
type snapshotAbout struct {
	home uint64
	meta raft.SnapshotMeta
}

// maxServers bounds the members of a configuration, also of one from a damaged file.
const maxServers = 1000

func (a *snapshotAbout) encode() []byte {
	p := binary.BigEndian.AppendUint64(nil, a.home)
	p = append(p, byte(a.meta.Version))
	for _, n := range []uint64{a.meta.Term, a.meta.Index, a.meta.ConfigurationIndex, uint64(len(a.meta.Configuration.Servers))} {
		p = binary.AppendUvarint(p, n)
	}
	for _, s := range a.meta.Configuration.Servers {
		p = append(p, byte(s.Suffrage))
		p = appendBytes(p, []byte(s.ID))
		p = appendBytes(p, []byte(s.Address))
	}
	return p
}

func decodeSnapshotAbout(p []byte) (a snapshotAbout, err error) {
	d := &decoder{p: p}
	a.home = d.fixed()
	a.meta.Version = raft.SnapshotVersion(d.byte())
	a.meta.Term, a.meta.Index, a.meta.ConfigurationIndex = d.uint(), d.uint(), d.uint()
	servers := d.count()
	if servers > maxServers {
		return a, fmt.Errorf("%w: header has %d members", ErrCorrupt, servers)
	}
	for i := 0; i < servers && d.err == nil; i++ {
		a.meta.Configuration.Servers = append(a.meta.Configuration.Servers, raft.Server{
			Suffrage: raft.ServerSuffrage(d.byte()), ID: raft.ServerID(d.bytes()), Address: raft.ServerAddress(d.bytes()),
		})
	}
	if err := d.end(); err != nil {
		return a, err
	}
	if a.meta.Version < raft.SnapshotVersionMin || a.meta.Version > raft.SnapshotVersionMax {
		return a, fmt.Errorf("%w: snapshot has Raft's version %d", ErrVersion, a.meta.Version)
	}
	return a, nil
}
