package proxytest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds every wait of the suite: only a failure takes so long.
const patience = 10 * time.Second

// Server is a backend: over TCP it says its name in a line and then returns each line; over UDP it returns each
// datagram with its name before it.
type Server struct {
	Name string
	Addr netip.AddrPort

	close func()
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	total int
}

// NewServer starts a backend on a free port of ip; it ends with the test. network is tcp or udp.
func NewServer(t testing.TB, network, name string, ip netip.Addr) *Server {
	t.Helper()
	s := &Server{Name: name, conns: map[net.Conn]struct{}{}}
	var wg sync.WaitGroup
	at := netip.AddrPortFrom(ip, 0).String()
	if network == "udp" {
		pc, err := net.ListenPacket("udp", at)
		require.NoError(t, err)
		s.Addr = pc.LocalAddr().(*net.UDPAddr).AddrPort()
		s.close = func() { _ = pc.Close() }
		wg.Go(func() { s.answerDatagrams(pc) })
	} else {
		ln, err := net.Listen("tcp", at)
		require.NoError(t, err)
		s.Addr = ln.Addr().(*net.TCPAddr).AddrPort()
		s.close = func() { _ = ln.Close() }
		wg.Go(func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				s.mu.Lock()
				s.conns[conn] = struct{}{}
				s.total++
				s.mu.Unlock()
				wg.Go(func() { s.answer(conn) })
			}
		})
	}
	t.Cleanup(func() {
		s.Stop()
		wg.Wait()
	})
	return s
}

// Stop ends the backend as a killed process ends: nobody listens, connections are closed.
func (s *Server) Stop() {
	s.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// Accepted is how many connections came so far.
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

func (s *Server) answer(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	if _, err := fmt.Fprintln(conn, s.Name); err != nil {
		return
	}
	n, err := io.Copy(conn, conn)
	if err == nil {
		_, _ = fmt.Fprintf(conn, "end after %d\n", n)
	}
}

func (s *Server) answerDatagrams(pc net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := pc.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = pc.WriteTo([]byte(s.Name+" "+string(buf[:n])), from)
		}
	}
}

// Conn is a client's connection to a Server.
type Conn struct {
	*net.TCPConn
	Name   string // of the backend
	reader *bufio.Reader
}

// Dial connects and reads the backend's name.
func Dial(addr netip.AddrPort) (*Conn, error) {
	c, err := (&net.Dialer{Timeout: patience}).Dial("tcp", addr.String())
	if err != nil {
		return nil, err
	}
	conn := &Conn{TCPConn: c.(*net.TCPConn), reader: bufio.NewReader(c)}
	_ = c.SetDeadline(time.Now().Add(patience))
	if conn.Name, err = conn.Line(); err != nil {
		_ = c.Close()
		return nil, err
	}
	return conn, nil
}

// Line reads a line.
func (c *Conn) Line() (string, error) {
	line, err := c.reader.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

// Ask sends a line and reads one.
func (c *Conn) Ask(line string) (string, error) {
	if _, err := fmt.Fprintln(c, line); err != nil {
		return "", err
	}
	return c.Line()
}

// Which connects once and says which backend answered.
func Which(addr netip.AddrPort) (string, error) {
	c, err := Dial(addr)
	if err != nil {
		return "", err
	}
	return c.Name, c.Close()
}

// Datagrams is a UDP client.
type Datagrams struct{ *net.UDPConn }

// DialUDP makes a UDP client that ends with the test.
func DialUDP(t testing.TB, addr netip.AddrPort) Datagrams {
	t.Helper()
	c, err := net.Dial("udp", addr.String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return Datagrams{c.(*net.UDPConn)}
}

// Ask sends a datagram until it is answered, as UDP clients do, and returns the answer.
func (d Datagrams) Ask(text string) (string, error) {
	buf := make([]byte, 2048)
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err = d.Write([]byte(text)); err != nil {
			continue // an ICMP error of the last one
		}
		_ = d.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		var n int
		if n, err = d.Read(buf); err == nil {
			return string(buf[:n]), nil
		}
	}
	return "", fmt.Errorf("no answer to %q: %w", text, err)
}
