package store

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// warnPause is how long nothing is said of more refused connections: whoever was refused tries again at once.
const warnPause = 10 * time.Second

// refused tells of a connection that was not taken. One that was lost on the way is nothing to tell.
func (p *peers) refused(from net.Addr, err error) {
	var lost net.Error
	if errors.Is(err, io.EOF) || errors.As(err, &lost) || errors.Is(err, net.ErrClosed) {
		p.logger.Debugw("a connection was lost before it began", "from", from, "error", err)
		return
	}
	p.mu.Lock()
	loud := time.Since(p.warned) > warnPause
	if loud {
		p.warned = time.Now()
	}
	p.mu.Unlock()
	if loud {
		p.logger.Warnw("a connection was refused", "from", from, "error", err)
	} else {
		p.logger.Infow("a connection was refused", "from", from, "error", err)
	}
}

// unreached tells that a member can't be reached, when that begins, and when there is another reason.
func (p *peers) unreached(to Peer, err error) {
	if errors.Is(err, ErrClosed) || errors.Is(err, context.Canceled) {
		return
	}
	reason := err.Error()
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Err != nil {
		reason = op.Err.Error() // without the port, which is another each time
	}
	p.mu.Lock()
	before, already := p.silent[to.Name]
	loud := !already || before.reason != reason && time.Since(before.at) > time.Second
	if loud {
		p.silent[to.Name] = silence{time.Now(), reason}
	}
	p.mu.Unlock()
	if loud {
		p.logger.Warnw("a member can't be reached", "member", to.Name, "at", to.Addr, "error", err)
	}
}

func (p *peers) reached(to Peer) {
	p.mu.Lock()
	_, silent := p.silent[to.Name]
	delete(p.silent, to.Name)
	p.mu.Unlock()
	if silent {
		p.logger.Infow("a member is reached again", "member", to.Name, "at", to.Addr)
	}
}

// silence is since when a member can't be reached, and why.
type silence struct {
	at     time.Time
	reason string
}
