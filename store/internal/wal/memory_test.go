package wal

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/keelson-dev/keelson/store/internal/fault"
)

const sector = 512

// errCrashed is what everything says once the power is gone.
var errCrashed = errors.New("the power is gone")

// memory is a disk in memory that knows what a power cut would leave of it.
type memory struct {
	mu      sync.Mutex
	names   map[string]*inode
	durable map[string]*inode
	changes []change // of names, since the last syncDir
	locked  bool

	calls   int // that change something or make it durable
	crashAt int // the call at which the power goes; 0 means never
	fault   func(call string) error
	onRead  func()
	lies    bool // a sync says that it did what it did not
}

type inode struct{ now, durable []byte }

type change struct {
	from, to string // to is empty for a removal, from for a creation
	node     *inode
}

func newMemory() *memory { return &memory{names: map[string]*inode{}, durable: map[string]*inode{}} }

// openInline opens a log that makes files ahead before it goes on, so that tests may look at the disk.
func openInline(disk files, segmentBytes int64) (*Log, error) {
	l := newLog(disk, "disk", segmentBytes)
	l.start = func(f func()) { f() }
	return l, l.open()
}

// put makes a file that is on disk.
func (m *memory) put(name string, content []byte) {
	n := &inode{slices.Clone(content), slices.Clone(content)}
	m.names[name], m.durable[name] = n, n
}

// call counts one, with mu held.
func (m *memory) call(name string) error {
	m.calls++
	if m.crashAt > 0 && m.calls >= m.crashAt {
		return errCrashed
	}
	if m.fault != nil {
		return m.fault(name)
	}
	return nil
}

// loss says what an image lacks of what was written.
type loss struct{ dropped, torn, kept, names int }

func (l *loss) add(o loss) {
	l.dropped, l.torn, l.kept, l.names = l.dropped+o.dropped, l.torn+o.torn, l.kept+o.kept, l.names+o.names
}

// image returns the disk as it might be after a power cut now: of what was not made durable, any sectors, some of them
// half, and the first so many changes of names.
func (m *memory) image(rnd *rand.Rand) (*memory, loss) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var l loss
	names := maps.Clone(m.durable)
	kept := rnd.IntN(len(m.changes) + 1)
	l.names = len(m.changes) - kept
	for _, c := range m.changes[:kept] {
		c.do(names)
	}
	share := []int{0, 10, 50, 90, 100}[rnd.IntN(5)] // percent of the sectors that were written
	image := newMemory()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		content, one := names[name].image(rnd, share)
		l.add(one)
		image.put(name, content)
	}
	return image, l
}

func (n *inode) image(rnd *rand.Rand, share int) (content []byte, l loss) {
	content = slices.Clone(n.durable)
	if len(n.now) > len(content) && rnd.IntN(2) == 0 {
		content = append(content, make([]byte, len(n.now)-len(content))...)
	}
	for at := 0; at < len(n.now); at += sector {
		written := n.now[at:min(at+sector, len(n.now))]
		var before []byte
		if at < len(n.durable) {
			before = n.durable[at:min(at+sector, len(n.durable))]
		}
		if string(before) == string(written) {
			continue
		}
		if rnd.IntN(100) >= share {
			l.dropped++
			continue
		}
		end := len(written)
		if rnd.IntN(8) == 0 {
			end = rnd.IntN(len(written))
			l.torn++
		} else {
			l.kept++
		}
		if grown := at + end; grown > len(content) {
			content = append(content, make([]byte, grown-len(content))...)
		}
		copy(content[at:], written[:end])
	}
	return content, l
}

func (c change) do(names map[string]*inode) {
	if c.from != "" {
		delete(names, c.from)
	}
	if c.to != "" {
		names[c.to] = c.node
	}
}

type memoryLock struct{ m *memory }

func (l memoryLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.m.locked = false
	return nil
}

func (m *memory) lock() (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked {
		return nil, fault.ErrLocked
	}
	m.locked = true
	return memoryLock{m}, nil
}

func (m *memory) list() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.names)), nil
}

func (m *memory) open(name string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.names[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return &memoryFile{m, n}, nil
}

func (m *memory) create(name string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call("create"); err != nil {
		return nil, err
	}
	n := &inode{}
	m.change(change{"", name, n})
	return &memoryFile{m, n}, nil
}

func (m *memory) change(c change) {
	c.do(m.names)
	m.changes = append(m.changes, c)
}

func (m *memory) rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call("rename"); err != nil {
		return err
	}
	n, ok := m.names[from]
	if !ok {
		return fs.ErrNotExist
	}
	m.change(change{from, to, n})
	return nil
}

func (m *memory) remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call("remove"); err != nil {
		return err
	}
	m.change(change{from: name})
	return nil
}

func (m *memory) lost(name string, f file) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[name] != f.(*memoryFile).n {
		return fs.ErrNotExist
	}
	return nil
}

func (m *memory) syncDir() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call("syncDir"); err != nil {
		return err
	}
	if !m.lies {
		m.durable, m.changes = maps.Clone(m.names), nil
	}
	return nil
}

type memoryFile struct {
	m *memory
	n *inode
}

func (f *memoryFile) ReadAt(p []byte, at int64) (int, error) {
	if f.m.onRead != nil {
		f.m.onRead()
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if at >= int64(len(f.n.now)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.now[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) WriteAt(p []byte, at int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err := f.m.call("write")
	if err != nil && !errors.Is(err, errCrashed) {
		return 0, err
	}
	if f.m.calls > f.m.crashAt && f.m.crashAt > 0 {
		return 0, err
	}
	// A write at which the power goes may have been done.
	f.grow(int(at) + len(p))
	copy(f.n.now[at:], p)
	return len(p), err
}

// appendAt does with what is behind p what direct writes do.
func (f *memoryFile) appendAt(p []byte, at int64) error {
	end := at + int64(len(p))
	whole := slices.Clone(p)
	if behind := min((end+4095)&^4095, int64(len(f.n.now))) - end; behind > 0 {
		whole = append(whole, make([]byte, behind)...)
	}
	_, err := f.WriteAt(whole, at)
	return err
}

func (f *memoryFile) grow(size int) {
	if size > len(f.n.now) {
		f.n.now = append(f.n.now, make([]byte, size-len(f.n.now))...)
	}
}

func (f *memoryFile) allocate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.call("allocate"); err != nil {
		return err
	}
	f.grow(int(size))
	return nil
}

func (f *memoryFile) sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.call("sync"); err != nil {
		return err
	}
	if !f.m.lies {
		f.n.durable = slices.Clone(f.n.now)
	}
	return nil
}

func (f *memoryFile) size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.n.now)), nil
}

func (f *memoryFile) Close() error { return nil }
