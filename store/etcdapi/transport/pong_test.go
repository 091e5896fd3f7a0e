package transport

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

type noWork struct{}

func (noWork) GiveUp(bool) error { return nil }

// TestPongWaits has the answer to a ping wait for that to a call, but not for long, and not with anything else.
func TestPongWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, err := New(Config{})
		require.NoError(t, err)
		here, there := net.Pipe()
		defer there.Close()
		c := newConn(server, here)
		c.wanted = make(chan struct{}, 1)
		ping := func() { require.NoError(t, c.ping(0, 0, make([]byte, 8))) }
		ping()
		require.False(t, c.holdPongs(), "no call will be answered")
		s := &stream{conn: c, id: 1, request: &request{}}
		c.streams[1], c.running, c.spoke = s, 1, true
		(*Call)(s).Until(time.Hour, noWork{})
		begin := time.Now()
		require.True(t, c.holdPongs())
		<-c.wanted // the flusher's turn
		require.Equal(t, pongHold, time.Since(begin))
		c.spoke = true
		ping()
		require.True(t, c.holdPongs())
		c.mu.Lock()
		c.out = appendWindow(c.out, 0, 1)
		c.mu.Unlock()
		require.False(t, c.holdPongs(), "the client waits for its window")
		require.NotNil(t, s.drop())
		require.Zero(t, c.awaited)
		c.mu.Lock()
		c.unwake()
		c.mu.Unlock()
		c.alarms.Wait()
		require.NoError(t, here.Close())
	})
}
