package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keelson-dev/keelson/internal/memnet"
)

// lonePeers opens a member that knows another one, b, at which nobody is.
func lonePeers(t *testing.T) (*Store, *memnet.Listener) {
	listener := memnet.Listen("a")
	s, err := Open(t.Context(), Config{
		Name: "a", Peers: []Peer{{Name: "a", Addr: "a"}}, Listener: listener, MemoryDisk: &MemoryDisk{},
		Dial: func(context.Context, string) (net.Conn, error) { return nil, errors.New("nobody is there") },
	})
	require.NoError(t, err)
	require.NoError(t, s.AddMember(t.Context(), Peer{Name: "b", Addr: "b"}))
	return s, listener
}

// TestSilentConnections has somebody fill all places for handshakes, and more, without saying anything. A member gets in.
func TestSilentConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, listener := lonePeers(t)
		defer s.Close()
		dial := func() net.Conn {
			conn, err := listener.Dial(t.Context())
			require.NoError(t, err)
			return conn
		}
		slow := dial()
		defer slow.Close()
		hi := hello{kind: helloStore, from: "b", to: "a"}.encode()
		_, err := slow.Write(hi[:1])
		require.NoError(t, err)
		synctest.Wait()
		time.Sleep(2 * silenceGrace)
		var silent []net.Conn
		for range 3 * maxHandshakes {
			silent = append(silent, dial())
			time.Sleep(3 * time.Millisecond) // some 330 in a second
		}
		ended := func(c net.Conn) bool {
			require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Nanosecond)))
			_, err := c.Read(make([]byte, 1))
			return err == io.EOF
		}
		require.True(t, ended(silent[0]), "the bound was met")
		require.False(t, ended(silent[len(silent)-1]))

		_, err = slow.Write(hi[1:])
		require.NoError(t, err)
		answer := make([]byte, 1)
		_, err = io.ReadFull(slow, answer)
		require.NoError(t, err, "it was greeted before the flood, slowly")
		require.Equal(t, []byte{helloWelcome}, answer)

		late := dial()
		defer late.Close()
		_, err = late.Write(hi)
		require.NoError(t, err)
		_, err = io.ReadFull(late, answer)
		require.NoError(t, err, "it came into the flood")
		require.Equal(t, []byte{helloWelcome}, answer)

		time.Sleep(silenceTimeout)
		for _, c := range silent {
			require.True(t, ended(c))
			_ = c.Close()
		}
		require.Empty(t, s.engine.(*member).peers.handshakes.going)
	})
}

// TestHandshakePlaces takes in connections from many hosts, and looks at who has to go.
func TestHandshakePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s handshakes
		at := func(host string, port int) net.Addr {
			return &net.TCPAddr{IP: net.ParseIP(host), Port: port}
		}
		members := []Peer{{Name: "a", Addr: "10.0.0.1:2380"}, {Name: "b", Addr: "b.example:2380"}, {Name: "c", Addr: "[2001:db8::1]:2380"}}
		s.settle("b", at("10.0.0.2", 1))
		s.settle("gone", at("10.0.9.9", 1))
		take := func(host string) (h, victim *handshake) {
			time.Sleep(time.Millisecond)
			return s.admit(fromAddr{addr: at(host, 1+len(s.going))}, members)
		}
		for _, home := range []string{"10.0.0.1", "10.0.0.2", "2001:db8::9", "::ffff:10.0.0.1"} {
			h, _ := take(home)
			require.True(t, h.home, home)
		}
		first, victim := take("10.0.9.9")
		require.False(t, first.home, "a member that has left has no home")
		require.Nil(t, victim)
		for range maxFromHost - 1 {
			_, victim = take("10.0.9.9")
			require.Nil(t, victim)
		}
		_, victim = take("10.0.9.9")
		require.Same(t, first, victim, "one host has no more than its share")
		for i := range maxHandshakes - maxFromHost {
			_, victim = take(fmt.Sprintf("10.1.0.%d", i))
			require.Nil(t, victim)
		}
		h, victim := take("10.1.1.1")
		require.Equal(t, "10.0.9.9", victim.host, "who has the most pays")
		_, victim = take("10.0.0.1")
		require.Nil(t, victim, "members' hosts have places of their own")
		s.done(h)
		_, victim = take("10.1.1.2")
		require.Nil(t, victim)

		s = handshakes{}
		for i := range maxHandshakes {
			h, _ := take(fmt.Sprintf("10.1.0.%d", i))
			h.spoke.Store(i != 7 && i < maxHandshakes-2)
		}
		time.Sleep(2 * silenceGrace)
		_, victim = take("10.1.1.1")
		require.Equal(t, "10.1.0.7", victim.host, "who is silent goes first")
		for _, host := range []string{"2001:db8:1::1", "2001:db8:1::2"} {
			h, _ := take(host)
			require.Equal(t, "2001:db8:1::/64", h.host)
		}
	})
}

// fromAddr is a connection from an address.
type fromAddr struct {
	net.Conn
	addr net.Addr
}

func (c fromAddr) RemoteAddr() net.Addr { return c.addr }

// TestPlainTextWarning listens where other machines reach it, without TLS.
func TestPlainTextWarning(t *testing.T) {
	for _, c := range []struct {
		ip    string
		warns int
	}{{"192.0.2.1", 1}, {"127.0.0.1", 0}} {
		synctest.Test(t, func(t *testing.T) {
			core, logs := observer.New(zap.WarnLevel)
			s, err := Open(t.Context(), Config{
				Name: "a", Peers: []Peer{{Name: "a", Addr: "a"}}, MemoryDisk: &MemoryDisk{}, Logger: zap.New(core),
				Listener: listenerAt{memnet.Listen("a"), &net.TCPAddr{IP: net.ParseIP(c.ip), Port: 2380}},
				Dial:     func(context.Context, string) (net.Conn, error) { return nil, errors.New("nobody is there") },
			})
			require.NoError(t, err)
			require.NoError(t, s.Close())
			require.Len(t, logs.FilterMessageSnippet("plain text").All(), c.warns)
		})
	}
}

// listenerAt is a listener that says to be elsewhere.
type listenerAt struct {
	net.Listener
	addr net.Addr
}

func (l listenerAt) Addr() net.Addr { return l.addr }

// asMember dials as the member b, for a transport of Raft's.
type asMember struct {
	*memnet.Listener // to dial
	closed           chan struct{}
	once             *sync.Once
}

func (m asMember) Accept() (net.Conn, error) {
	<-m.closed
	return nil, net.ErrClosed
}

func (m asMember) Close() error {
	m.once.Do(func() { close(m.closed) })
	return nil
}

func (m asMember) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) {
	conn, err := m.Listener.Dial(context.Background())
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(hello{kind: helloRaft, from: "b", to: "a"}.encode()); err != nil {
		return nil, err
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return conn, err
}

// TestBadMessages sends a member what Raft panics at. It refuses that and goes on.
func TestBadMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, listener := lonePeers(t)
		defer s.Close()
		layer := asMember{listener, make(chan struct{}), &sync.Once{}}
		from := raft.NewNetworkTransport(layer, 1, time.Minute, io.Discard)
		defer from.Close()
		m := s.engine.(*member)
		time.Sleep(10 * time.Second) // it writes down what it is
		last, err := m.logs.LastIndex()
		require.NoError(t, err)
		var prev raft.Log
		require.NoError(t, m.logs.GetLog(last, &prev))
		header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("b"), Addr: []byte("b")}
		good := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "a"}, {ID: "b", Address: "b"}}})
		entries := func(at uint64, kind raft.LogType, data []byte) error {
			var answer raft.AppendEntriesResponse
			return from.AppendEntries("a", "a", &raft.AppendEntriesRequest{
				RPCHeader: header, Term: prev.Term + 5, PrevLogEntry: last, PrevLogTerm: prev.Term,
				Entries: []*raft.Log{{Index: at, Term: prev.Term + 5, Type: kind, Data: data}},
			}, &answer)
		}
		alike := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "a"}, {ID: "a", Address: "b"}}})
		mute := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Nonvoter, ID: "a", Address: "a"}}})
		for name, data := range map[string][]byte{"garbage": []byte("\xffgarbage"), "nothing": nil, "one twice": alike, "no voter": mute} {
			require.ErrorContains(t, entries(last+1, raft.LogConfiguration, data), "configuration", name)
		}
		require.ErrorContains(t, entries(last+2, raft.LogCommand, nil), "follow")
		require.ErrorContains(t, entries(last+1, raft.LogAddPeerDeprecated, nil), "kind")
		require.ErrorContains(t, entries(last+1, 77, nil), "kind")
		snapshot := func(version raft.SnapshotVersion) error {
			var answer raft.InstallSnapshotResponse
			return from.InstallSnapshot("a", "a", &raft.InstallSnapshotRequest{
				RPCHeader: header, SnapshotVersion: version, Term: prev.Term + 5, Leader: []byte("b"), LastLogIndex: last + 1, LastLogTerm: prev.Term,
				Configuration: []byte("\xffgarbage"), Size: 3,
			}, &answer, strings.NewReader("abc"))
		}
		require.ErrorContains(t, snapshot(1), "configuration")
		require.ErrorContains(t, snapshot(0), "version")

		now, err := m.logs.LastIndex()
		require.NoError(t, err)
		require.Equal(t, last, now)
		require.NoError(t, entries(last+1, raft.LogConfiguration, good), "the test's message itself is taken")
		now, err = m.logs.LastIndex()
		require.NoError(t, err)
		require.Equal(t, last+1, now)
	})
}
