package store_test

import (
	"testing"

	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// TestView reads a view while the store goes on, is compacted, and is closed.
func TestView(t *testing.T) {
	for name, cfg := range map[string]store.Config{
		"memory":  {},
		"durable": {Dir: t.TempDir()},
		"member":  {Dir: t.TempDir(), Name: "a", Peers: []store.Peer{{Name: "a", Addr: "a"}}, Listener: memnet.Listen("a")},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := store.Open(t.Context(), cfg)
			require.NoError(t, err)
			put := func(value string) int64 {
				res, err := s.Put(t.Context(), store.PutRequest{Key: []byte("k"), Value: []byte(value)})
				require.NoError(t, err)
				return res.Revision
			}
			first := put("1")
			revision := put("2")
			v, err := s.View(t.Context())
			require.NoError(t, err)
			put("3")
			newer, err := s.SerializableView()
			require.NoError(t, err)
			_, err = s.Delete(t.Context(), store.DeleteRequest{Key: []byte("k")})
			require.NoError(t, err)
			require.NoError(t, s.Compact(t.Context(), revision+1))
			require.NoError(t, s.Close())

			require.Equal(t, revision, v.Revision())
			require.Equal(t, revision+1, newer.Revision())
			kv, found := v.Get([]byte("k"))
			require.True(t, found)
			require.Equal(t, "2", string(kv.Value))
			_, found = v.Get([]byte("other"))
			require.False(t, found)
			for at, want := range map[int64]string{0: "2", first: "1", revision: "2"} {
				res, err := v.Range(store.RangeRequest{Key: []byte{0}, End: []byte{0}, Revision: at})
				require.NoError(t, err)
				require.Len(t, res.KVs, 1)
				require.Equal(t, want, string(res.KVs[0].Value))
				require.Equal(t, revision, res.Revision)
			}
			_, err = v.Range(store.RangeRequest{Key: []byte("k"), Revision: revision + 1})
			require.ErrorIs(t, err, store.ErrFutureRevision)
			_, err = v.Range(store.RangeRequest{})
			require.ErrorIs(t, err, store.ErrEmptyKey)

			_, err = s.View(t.Context())
			require.ErrorIs(t, err, store.ErrClosed)
			_, err = s.SerializableView()
			require.ErrorIs(t, err, store.ErrClosed)
		})
	}
	var none store.View
	require.Zero(t, none.Revision())
	_, found := none.Get([]byte("k"))
	require.False(t, found)
	res, err := none.Range(store.RangeRequest{Key: []byte("k")})
	require.NoError(t, err)
	require.Empty(t, res.KVs)
}
