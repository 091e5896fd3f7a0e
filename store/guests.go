package store

import (
	"context"
	"sync"
	"time"
)

// guestTime is how long a member's word for another one holds. Until then the entry that names it has come, or it is
// asked for again.
const guestTime = 5 * time.Second

// guests are members that this one has not heard of, and for whom another member has vouched. A member that was away
// while others were added must let them in: one of them may lead, and be who tells it of them. At least one of those it
// does know must still be there; who has missed the replacement of all of them has to be removed and added anew.
type guests struct {
	mu    sync.Mutex
	until map[string]time.Time
}

func (g *guests) has(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Now().Before(g.until[name])
}

func (g *guests) add(name string) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.until == nil {
		g.until = map[string]time.Time{}
	}
	for other, until := range g.until {
		if now.After(until) {
			delete(g.until, other)
		}
	}
	g.until[name] = now.Add(guestTime)
}

// vouched asks the members that this one knows whether they know another.
func (p *peers) vouched(name string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	members := p.members()
	answers := make(chan bool, len(members))
	asked := 0
	for _, m := range members {
		if m.Name == p.self.Name {
			continue
		}
		asked++
		l := p.to(m.Name)
		p.loops.Go(func() {
			answer, err := l.call(ctx, callVouch, []byte(name))
			answers <- err == nil && len(answer) == 1 && answer[0] == 0
		})
	}
	for ; asked > 0; asked-- {
		select {
		case yes := <-answers:
			if yes {
				p.guests.add(name)
				return true
			}
		case <-p.closed:
			return false
		}
	}
	return false
}
