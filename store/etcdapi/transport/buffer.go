package transport

import (
	"crypto/tls"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// maxPooled is the largest buffer that is kept for later.
const maxPooled = 1 << 20

// getBuffer returns an empty buffer.
func (s *Server) getBuffer() []byte {
	if b, ok := s.buffers.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 4<<10)
}

func (s *Server) putBuffer(b []byte) {
	if cap(b) <= maxPooled {
		s.buffers.Put(&b)
	}
}

// peer says who is at the other end.
func (c *conn) peer() *peer.Peer {
	p := &peer.Peer{Addr: c.nc.RemoteAddr(), LocalAddr: c.nc.LocalAddr()}
	if t, ok := c.nc.(*tls.Conn); ok {
		p.AuthInfo = credentials.TLSInfo{State: t.ConnectionState(), CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
	}
	return p
}
