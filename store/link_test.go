package store

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/internal/memnet"
)

// framesOf reads frames from text.
func framesOf(p []byte) frames {
	return frames{bufio.NewReader(bytes.NewReader(p)), func(time.Time) error { return nil }}
}

func TestFrames(t *testing.T) {
	p := appendFrame(nil, 7, callPropose, []byte("content"))
	p = appendFrame(p, 0, noticeCommitted, nil)
	r := framesOf(p)
	number, kind, content, err := r.next()
	require.NoError(t, err)
	require.Equal(t, "content", string(content))
	require.EqualValues(t, 7, number)
	require.Equal(t, callPropose, kind)
	number, kind, content, err = r.next()
	require.NoError(t, err)
	require.Zero(t, number)
	require.Equal(t, noticeCommitted, kind)
	require.Empty(t, content)
	for n := range 20 {
		_, _, _, err := framesOf(p[:n]).next()
		require.Error(t, err)
	}
	_, _, _, err = framesOf(bytes.Repeat([]byte{0xff}, 20)).next()
	require.ErrorIs(t, err, ErrCorrupt)
}

func FuzzReadFrame(f *testing.F) {
	f.Add(appendFrame(nil, 7, callPropose, []byte("content")))
	f.Fuzz(func(t *testing.T, p []byte) {
		number, kind, content, err := framesOf(p).next()
		if err != nil {
			return
		}
		again := appendFrame(nil, number, kind, content)
		require.Equal(t, p[:len(again)], again)
	})
}

// TestFrameMemory has frames that claim to be as long as they may be, of which little comes.
func TestFrameMemory(t *testing.T) {
	p := appendFrame(nil, 7, callPropose, make([]byte, 3<<20))
	_, _, content, err := framesOf(p).next()
	require.NoError(t, err)
	require.Len(t, content, 3<<20)
	binary.BigEndian.PutUint32(p, maxFrame)
	for _, n := range []int{frameHead, frameHead + 100<<10, len(p)} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, _, err := framesOf(p[:n]).next()
		runtime.ReadMemStats(&after)
		require.Error(t, err)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8*n+1<<20), "of %d bytes that came", n)
	}
}

// TestUnfinishedFrame begins a frame and does not go on. The connection ends; one on which nothing has begun does not,
// and a frame may come slowly.
func TestUnfinishedFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := lonePeers(t)
		defer s.Close()
		m := s.engine.(*member)
		serve := func() (conn net.Conn, ended chan struct{}) {
			conn, other := memnet.Pipe()
			ended = make(chan struct{})
			go func() {
				serveLink(other, "b", m.peers)
				close(ended)
			}()
			return conn, ended
		}
		idle, idleEnded := serve()
		slow, slowEnded := serve()
		stuck, stuckEnded := serve()
		frame := appendFrame(nil, 7, callReadIndex, make([]byte, 300<<10))
		_, err := stuck.Write(frame[:frameHead+10])
		require.NoError(t, err)
		for part := range slices.Chunk(frame, 30<<10) {
			_, err := slow.Write(part)
			require.NoError(t, err)
			time.Sleep(linkTimeout * 3 / 20)
		}
		require.NoError(t, slow.SetReadDeadline(time.Now().Add(time.Minute)))
		number, _, _, err := newFrames(slow).next()
		require.NoError(t, err)
		require.EqualValues(t, 7, number)
		select {
		case <-stuckEnded:
		default:
			t.Fatal("the connection whose frame does not go on is still there")
		}
		time.Sleep(10 * linkTimeout)
		for name, ended := range map[string]chan struct{}{"idle": idleEnded, "slow": slowEnded} {
			select {
			case <-ended:
				t.Fatal(name)
			default:
			}
		}
		for _, c := range []net.Conn{idle, slow, stuck} {
			require.NoError(t, c.Close())
		}
		<-idleEnded
		<-slowEnded
	})
}
