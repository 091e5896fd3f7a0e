package store_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// TestMembersTellWhatTheyAre finds every member's attributes at every member, new ones when it was opened with
// others, over snapshots, and none of who was removed.
func TestMembersTellWhatTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet("a", "b", "c")
		defer f.closeAll(t)
		urls := map[string]string{"a": "http://a:2379", "b": "http://b:2379", "c": "http://c:2379"}
		at := func(name string) func(*store.Config) {
			return func(cfg *store.Config) { cfg.ClientURLs = []string{urls[name]} }
		}
		told := func() bool {
			for _, s := range f.members {
				members := statusOf(t, s).Members
				if len(members) != len(urls) {
					return false
				}
				for _, m := range members {
					if len(m.ClientURLs) != 1 || m.ClientURLs[0] != urls[m.Name] || m.Version == 0 {
						return false
					}
					require.Equal(t, store.MemberID(m.Name), m.ID)
				}
			}
			return true
		}
		for _, p := range f.peers {
			f.open(t, p.Name, at(p.Name))
		}
		f.until(t, "all are known everywhere", told)
		require.Equal(t, store.MemberID("b"), statusOf(t, f.members["b"]).MemberID)

		urls["b"] = "https://elsewhere:1"
		f.close(t, "b")
		f.open(t, "b", at("b"))
		f.until(t, "the new one is known everywhere", told)

		// A member that is sent a snapshot knows them from there.
		f.close(t, "c")
		leader := f.leader(t)
		for i := range 20 {
			f.put(t, leader, fmt.Sprint(i), "v")
		}
		require.NoError(t, f.members[leader].Compacting())
		f.open(t, "c", at("c"))
		f.until(t, "the one that was away knows them", told)

		f.put(t, "a", "k", "v")
		f.close(t, "c")
		leader = f.leader(t)
		require.Contains(t, f.members[leader].Described(), "c")
		require.NoError(t, f.members["a"].RemoveMember(t.Context(), "c"))
		delete(urls, "c")
		f.until(t, "the one that went is forgotten", func() bool {
			return told() && len(f.members["a"].Described()) == 2 && len(f.members["b"].Described()) == 2
		})
	})
}

// TestLoneStoresTellWhatTheyAre has the same of stores that are no members.
func TestLoneStoresTellWhatTheyAre(t *testing.T) {
	for name, cfg := range map[string]store.Config{"memory": {}, "directory": {Dir: t.TempDir()}} {
		cfg.ClientURLs = []string{"http://127.0.0.1:2379"}
		s, err := store.Open(t.Context(), cfg)
		require.NoError(t, err, name)
		status := statusOf(t, s)
		require.Len(t, status.Members, 1, name)
		me := status.Members[0]
		require.Equal(t, cfg.ClientURLs, me.ClientURLs, name)
		require.True(t, me.Leader && me.Voter && me.Known && me.Version > 0 && me.ID == status.MemberID && me.ID != 0, "%s: %+v", name, me)
		require.NoError(t, s.Close())
	}
	_, err := store.Open(t.Context(), store.Config{ClientURLs: []string{"nonsense"}})
	require.ErrorIs(t, err, store.ErrConfig)
}
