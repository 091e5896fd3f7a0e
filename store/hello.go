package store

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// What a connection between members begins with: the kind of its content, a version, the names of who dials and of who
// is meant, each after its length, the id of the cluster, 0 while the member has not been told, and of its founders, 0 for
// who is none of them. The other side answers with a byte. It comes after the TLS handshake.
const (
	helloRaft     = 'R'
	helloStore    = 'K'
	helloVersion  = 1
	helloWelcome  = 0
	helloStranger = 1 // who dials is no member
	helloOther    = 2 // another member is meant, or another cluster
	helloFounders = 3 // the two were begun with different Peers
)

var errOther = errors.New("another member, or a member of another cluster, is at this address")

var errFounders = errors.New("the new cluster was begun with other names in Peers here than there: all founders must have the same; correct them, and begin again with empty directories")

var errStranger = fmt.Errorf("%w: the other side does not know this member", ErrNotMember)

// hello is how a connection begins.
type hello struct {
	kind     byte
	from, to string
	cluster  uint64
	founded  uint64
}

func (h hello) encode() []byte {
	p := []byte{h.kind, helloVersion, byte(len(h.from))}
	p = append(p, h.from...)
	p = append(append(p, byte(len(h.to))), h.to...)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(p, h.cluster), h.founded)
}

func readHello(r io.Reader) (h hello, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return h, err
	}
	if h.kind = head[0]; (h.kind != helloRaft && h.kind != helloStore) || head[1] != helloVersion {
		return h, fmt.Errorf("%w: it began with %q", ErrVersion, head)
	}
	for _, name := range []*string{&h.from, &h.to} {
		var size [1]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return h, err
		}
		text := make([]byte, size[0])
		if _, err := io.ReadFull(r, text); err != nil {
			return h, err
		}
		*name = string(text)
	}
	var numbers [16]byte
	_, err = io.ReadFull(r, numbers[:])
	h.cluster, h.founded = binary.BigEndian.Uint64(numbers[:]), binary.BigEndian.Uint64(numbers[8:])
	return h, err
}

// welcome is the accepting side: it finds out who has connected, and for what.
func (p *peers) welcome(raw *handshake) (conn net.Conn, kind byte, name string, err error) {
	conn = raw
	if err := conn.SetDeadline(raw.begun.Add(silenceTimeout)); err != nil {
		return nil, 0, "", err
	}
	if p.tls != nil {
		conn = tls.Server(raw, p.tls)
	}
	hello, err := readHello(conn)
	if err != nil {
		return nil, 0, "", err
	}
	kind, name = hello.kind, hello.from
	if !p.knows(name) && !p.vouched(name) {
		_, _ = conn.Write([]byte{helloStranger})
		return nil, 0, "", fmt.Errorf("%q is no member", name)
	}
	if mine := p.cluster(); hello.to != p.self.Name || (mine != 0 && hello.cluster != 0 && mine != hello.cluster) {
		_, _ = conn.Write([]byte{helloOther})
		return nil, 0, "", fmt.Errorf("%q wants %q of cluster %x, and this is %q of cluster %x", name, hello.to, hello.cluster, p.self.Name, mine)
	}
	if mine := p.founded.Load(); mine != 0 && hello.founded != 0 && mine != hello.founded {
		_, _ = conn.Write([]byte{helloFounders})
		return nil, 0, "", fmt.Errorf("%q: %w", name, errFounders)
	}
	if t, ok := conn.(*tls.Conn); ok {
		if err := t.ConnectionState().PeerCertificates[0].VerifyHostname(name); err != nil {
			return nil, 0, "", err
		}
	}
	if _, err := conn.Write([]byte{helloWelcome}); err != nil {
		return nil, 0, "", err
	}
	return conn, kind, name, conn.SetDeadline(time.Time{})
}

// greet is the dialling side.
func (p *peers) greet(ctx context.Context, raw net.Conn, to Peer, kind byte) (net.Conn, error) {
	conn := raw
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if p.tls != nil {
		cfg := p.tls.Clone()
		cfg.ServerName = to.Name
		conn = tls.Client(raw, cfg)
	}
	if _, err := conn.Write(hello{kind, p.self.Name, to.Name, p.cluster(), p.founded.Load()}.encode()); err != nil {
		return nil, err
	}
	var answer [1]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return nil, err
	}
	switch answer[0] {
	case helloWelcome:
	case helloOther:
		return nil, errOther
	case helloFounders:
		return nil, errFounders
	default:
		return nil, errStranger
	}
	return conn, conn.SetDeadline(time.Time{})
}
