package transport

import "time"

// Later is a form of a unary method for which no goroutine waits. It begins the work for a call on the goroutine that reads
// the connection, must not wait for anything, and reports true if Call.Answer was or will be called, by whichever
// goroutine. If it reports false the method's other forms are tried. request is valid until it returns.
type Later func(c *Call, request []byte) bool

// Work is what goes on for a call that is answered later.
type Work interface {
	// GiveUp says that nobody waits any more: the client is gone, or time is up. Then what it returns is the answer, unless
	// Answer comes first. Late says that it is the method's limit that is over, and not the client's. It must return soon.
	GiveUp(late bool) error
}

// Until has the work given up when the call ends before it is answered: by the client, by its deadline, or when limit
// is over. A Later form calls it once, if Answer may be called after it returns.
func (c *Call) Until(limit time.Duration, work Work) {
	s, now := (*stream)(c), time.Now()
	due := now.Add(limit)
	late := true
	if t := s.request.timeout; t > 0 && t < limit {
		due, late = now.Add(t), false
	}
	conn := s.conn
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if s.answered {
		return
	}
	s.work, s.due, s.late = work, due, late
	conn.awaited++
	conn.wake(due)
}

// drop forgets the work for a call, and returns it. The mutex is held.
func (s *stream) drop() Work {
	work := s.work
	if s.work = nil; work != nil {
		s.conn.awaited--
	}
	return work
}

// pongHold is how long the answer to a ping may wait for that to a call.
const pongHold = 50 * time.Millisecond

// holdPongs reports whether nothing waits to be written but answers to pings that can go with the answer to a call: grpc-go's
// client sends a ping with most of its calls, and so each call would be two writes.
func (c *conn) holdPongs() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.out) == 0 || len(c.out) != c.pongs || c.awaited == 0 {
		return false
	}
	c.wake(time.Now().Add(pongHold))
	return true
}

// Answer ends a call that a Later form has taken: with the message that encode appends, or with an error. Only the first
// answer counts. It waits for no client.
func (c *Call) Answer(encode func(answer []byte) []byte, err error) {
	s := (*stream)(c)
	var answer []byte
	if err == nil {
		answer = encode(append(s.conn.server.getBuffer(), noPrefix...))
	}
	if s.finish(answer, statusOf(err)) && answer != nil {
		s.conn.server.putBuffer(answer)
	}
	s.conn.mu.Lock()
	s.conn.wantFlush()
	s.conn.mu.Unlock()
}

// RegisterLater gives a unary method that is registered, named by its path as in "/package.Service/Method", a form that is
// tried before all others.
func (s *Server) RegisterLater(path string, later Later) error {
	m, err := s.unary(path)
	if err == nil {
		m.later = later
	}
	return err
}

// begin tries a call's Later form. The reader calls it.
func (c *conn) begin(s *stream, message []byte) bool {
	if s.request.method.later == nil {
		return false
	}
	if c.wanted == nil { // only the reader sets it
		c.startFlusher()
	}
	s.later = true
	s.later = s.request.method.later((*Call)(s), message) // if true, s may be answered by now
	return s.later
}

// wake has expire called in time. The mutex is held.
func (c *conn) wake(due time.Time) {
	if c.alarm != nil {
		if !due.Before(c.rings) {
			return
		}
		c.unwake()
	}
	c.rings = due
	c.alarms.Add(1)
	c.alarm = time.AfterFunc(time.Until(due), func() {
		defer c.alarms.Done()
		c.expire()
	})
}

// unwake undoes wake, if it is not too late. The mutex is held.
func (c *conn) unwake() {
	if c.alarm != nil && c.alarm.Stop() {
		c.alarms.Done()
	}
	c.alarm = nil
}

// expire answers the calls whose time is up, and has pongs that wait for an answer written.
func (c *conn) expire() {
	type expired struct {
		*stream
		work Work
		late bool
	}
	var all []expired
	now, next := time.Now(), time.Time{}
	c.mu.Lock()
	for _, s := range c.streams {
		switch {
		case s.work == nil || s.answered:
		case !s.due.After(now):
			all = append(all, expired{s, s.work, s.late})
		case next.IsZero() || s.due.Before(next):
			next = s.due
		}
	}
	if !now.Before(c.rings) {
		c.alarm = nil
		if !next.IsZero() && !c.dead {
			c.wake(next)
		}
	}
	c.mu.Unlock()
	for _, e := range all {
		e.finish(nil, statusOf(e.work.GiveUp(e.late)))
	}
	c.mu.Lock()
	if len(c.out) > 0 {
		c.wantFlush()
	}
	c.mu.Unlock()
}

// giveUp ends the work for a call whose client is gone.
func (s *stream) giveUp() {
	s.conn.mu.Lock()
	work := s.drop()
	s.conn.mu.Unlock()
	if work != nil {
		_ = work.GiveUp(false)
	}
}
