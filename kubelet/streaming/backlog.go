package streaming

import (
	"io"
	"sync"
)

// maxBacklog is how much input may wait for a command that doesn't read it.
const maxBacklog = 16 << 20

// backlog is standard input between the client and a command that reads it when it likes. Adding never waits, so that the
// connection goes on being read: only a reader notices that its client has gone.
type backlog struct {
	mu    sync.Mutex
	data  []byte
	ended bool
	wake  chan struct{} // a token: there is something to look at
}

func newBacklog() *backlog { return &backlog{wake: make(chan struct{}, 1)} }

func (b *backlog) notify() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// add appends input; false means that it is more than a client may send ahead.
func (b *backlog) add(p []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.data)+len(p) > maxBacklog {
		return false
	}
	if !b.ended {
		b.data = append(b.data, p...)
	}
	b.notify()
	return true
}

// end says that no more input comes.
func (b *backlog) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.notify()
}

// Read implements io.Reader for one reader at a time.
func (b *backlog) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		b.mu.Lock()
		n := copy(p, b.data)
		b.data = b.data[n:]
		ended := b.ended
		b.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		if ended {
			b.notify() // for the next call
			return 0, io.EOF
		}
		<-b.wake
	}
}
