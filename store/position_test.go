package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/keelson-dev/keelson/store"
)

// TestPosition holds what Position tells against Status.
func TestPosition(t *testing.T) {
	for name, cfg := range map[string]store.Config{
		"memory": {},
		"single": {Dir: t.TempDir()},
		"member": {Name: "a", Peers: []store.Peer{{Name: "a", Addr: "a"}}, MemoryDisk: &store.MemoryDisk{}, Listener: memnet.Listen("a")},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := store.Open(t.Context(), cfg)
			require.NoError(t, err)
			defer s.Close()
			for range 3 {
				_, err = s.Put(t.Context(), store.PutRequest{Key: []byte("a")})
				require.NoError(t, err)
			}
			require.NoError(t, s.Compact(t.Context(), 3))
			status, err := s.Status(t.Context())
			require.NoError(t, err)
			require.EqualValues(t, 4, status.Revision)
			require.NotZero(t, status.ClusterID)
			require.NotZero(t, status.Term)
			require.Equal(t, store.Position{ClusterID: status.ClusterID, Revision: 4, CompactRevision: 3, Term: status.Term}, s.Position())
			require.True(t, s.HasLeader())
		})
	}
}
