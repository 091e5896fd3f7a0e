package store

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFrames(t *testing.T) {
	p := appendFrame(nil, 7, callPropose, []byte("content"))
	p = appendFrame(p, 0, noticeCommitted, nil)
	r := bufio.NewReader(bytes.NewReader(p))
	number, kind, content, err := readFrame(r)
	require.NoError(t, err)
	require.Equal(t, "content", string(content))
	require.EqualValues(t, 7, number)
	require.Equal(t, callPropose, kind)
	number, kind, content, err = readFrame(r)
	require.NoError(t, err)
	require.Zero(t, number)
	require.Equal(t, noticeCommitted, kind)
	require.Empty(t, content)
	for n := range 20 {
		_, _, _, err := readFrame(bufio.NewReader(bytes.NewReader(p[:n])))
		require.Error(t, err)
	}
	_, _, _, err = readFrame(bufio.NewReader(bytes.NewReader(bytes.Repeat([]byte{0xff}, 20))))
	require.ErrorIs(t, err, ErrCorrupt)
}

func FuzzReadFrame(f *testing.F) {
	f.Add(appendFrame(nil, 7, callPropose, []byte("content")))
	f.Fuzz(func(t *testing.T, p []byte) {
		number, kind, content, err := readFrame(bufio.NewReader(bytes.NewReader(p)))
		if err != nil {
			return
		}
		again := appendFrame(nil, number, kind, content)
		require.Equal(t, p[:len(again)], again)
	})
}
