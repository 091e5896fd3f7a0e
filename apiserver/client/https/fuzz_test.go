package https

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// FuzzDecoder holds that a stream of whatever bytes ends, in events or an error.
func FuzzDecoder(f *testing.F) {
	ev := metav1.WatchEvent{Type: "ADDED"}
	data, err := kind.Pod.Kind().EncodeProtobuf(kind.Pod.New())
	require.NoError(f, err)
	ev.Object.Raw = data
	frame, err := ev.Marshal()
	require.NoError(f, err)
	f.Add(true, append([]byte{0, 0, 0, byte(len(frame))}, frame...))
	f.Add(true, []byte{0xff, 0xff, 0xff, 0xff})
	f.Add(true, []byte{0, 0, 0, 9, 1})
	f.Add(false, []byte(`{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1"}}`+"\n"+`{"type":"ERROR","object":{}}`))
	f.Fuzz(func(t *testing.T, protobuf bool, stream []byte) {
		media := mediaJSON
		if protobuf {
			media = mediaProtobuf
		}
		d := newDecoder(kind.Pod.Kind(), media, bytes.NewReader(stream))
		for range len(stream) + 1 {
			ev, err := d.next()
			if err != nil {
				if errors.Is(err, io.EOF) {
					require.Equal(t, io.EOF, err)
				}
				return
			}
			require.NotEmpty(t, ev.Type)
		}
		t.Fatal("more events than bytes")
	})
}

func TestEndInsideAnEventIsNoEndInOrder(t *testing.T) {
	for _, tt := range []struct{ media, stream string }{
		{mediaProtobuf, "\x00\x00\x00\x09abc"}, {mediaProtobuf, "\x00\x00"}, {mediaProtobuf, "\x00\x00\x00\x09"}, {mediaJSON, `{"type":`},
	} {
		_, err := newDecoder(kind.Pod.Kind(), tt.media, bytes.NewReader([]byte(tt.stream))).next()
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.NotErrorIs(t, err, io.EOF)
	}
	_, err := newDecoder(kind.Pod.Kind(), mediaJSON, io.LimitReader(bytes.NewReader(bytes.Repeat([]byte("["), maxFrame*2)), maxFrame*2)).next()
	require.Error(t, err)
}

func FuzzList(f *testing.F) {
	f.Add([]byte("k8s\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var meta metav1.ListMeta
		_, _ = listProtobuf(kind.Pod.Kind(), &meta, data)
		_, _ = listJSON(kind.Pod.Kind(), &meta, data)
	})
}
