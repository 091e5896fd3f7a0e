package store

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/stretchr/testify/require"
)

// FuzzHello reads what connections between members begin with.
func FuzzHello(f *testing.F) {
	f.Add(hello{kind: helloRaft, from: "a", to: "b", cluster: 7}.encode())
	f.Add(hello{kind: helloStore}.encode())
	f.Fuzz(func(t *testing.T, p []byte) {
		h, err := readHello(bytes.NewReader(p))
		if err != nil {
			return
		}
		again := h.encode()
		require.Equal(t, p[:len(again)], again)
	})
}

// FuzzAnswer gives a member calls with whatever content. It answers each, and afterwards works as before.
func FuzzAnswer(f *testing.F) {
	put := command{kind: commandTxn, txn: &Txn{Then: []Op{{Put: &PutRequest{Key: []byte("fuzz"), Value: []byte("v")}}}}}
	f.Add(callPropose, append(make([]byte, 8), encodeEntry([][]byte{put.encode(nil)})...))
	f.Add(callReadIndex, []byte{})
	f.Add(callConfirm, make([]byte, 8))
	f.Add(noticeCommitted, bytes.Repeat([]byte{0, 0, 0, 0, 0, 0, 0, 2}, 2))
	f.Add(callMember, append(appendBytes([]byte{memberAdd}, []byte("b")), "b"...))
	f.Add(callMember, append(appendBytes([]byte{memberRemove}, []byte("b")), 0))
	f.Add(callMember, appendBytes([]byte{memberTransfer}, []byte("a")))
	f.Add(callMember, append(appendBytes([]byte{memberUpdate}, []byte("a")), "elsewhere"...))
	f.Add(callTell, []byte{})
	f.Add(callVouch, []byte("a"))
	f.Add(byte(200), []byte{1})
	s, err := Open(f.Context(), Config{
		Name: "a", Peers: []Peer{{Name: "a", Addr: "a"}}, Listener: memnet.Listen("a"), MemoryDisk: &MemoryDisk{}, Retention: -1,
		Dial: func(context.Context, string) (net.Conn, error) { return nil, errors.New("nobody is there") },
	})
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, s.Close()) })
	m := s.engine.(*member)
	f.Fuzz(func(t *testing.T, kind byte, content []byte) {
		if kind == callMember && len(content) > 0 && content[0] != 0 && content[0] < 5 {
			return // a change of membership that is well-formed is made, and the lone member would wait for the new one
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		m.answer(ctx, "b", kind, content)
		m.quick(kind)
		_, err := s.Revision(ctx)
		require.NoError(t, err)
	})
}
