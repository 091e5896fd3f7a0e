package store_test

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// TestMistakesAreNamed opens stores as they can't be: the error names the field, and nothing is made.
func TestMistakesAreNamed(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	none := func(string) (store.LogStore, error) { return nil, nil }
	for name, c := range map[string]struct {
		cfg  store.Config
		kind error // nil: the system's
		says []string
		made bool
	}{
		"own address":     {store.Config{Name: "a", Peers: []store.Peer{{Name: "a", Addr: "nonsense"}}}, store.ErrConfig, []string{"Peers", `"nonsense"`, "HOST:PORT"}, false},
		"other address":   {store.Config{Name: "a", Peers: []store.Peer{{Name: "a", Addr: "127.0.0.1:0"}, {Name: "b", Addr: "b"}}}, store.ErrConfig, []string{"Peers", `"b"`, "HOST:PORT"}, false},
		"port taken":      {store.Config{Name: "a", Peers: []store.Peer{{Name: "a", Addr: taken.Addr().String()}}}, nil, []string{"Peers", "Listener", taken.Addr().String()}, true},
		"no log store":    {store.Config{OpenLog: none}, store.ErrConfig, []string{"OpenLog"}, true},
		"empty keyring":   {store.Config{Keys: store.StaticKeys{}}, store.ErrKey, []string{"the current key: "}, true},
		"no file of keys": {store.Config{Keys: store.KeyFile("/nowhere/keys")}, store.ErrKey, []string{"the current key: ", "/nowhere/keys"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.Dir = filepath.Join(t.TempDir(), "store")
			s, err := store.Open(t.Context(), c.cfg)
			if err == nil {
				_ = s.Close()
			}
			require.Error(t, err)
			if c.kind != nil {
				require.ErrorIs(t, err, c.kind)
			}
			for _, text := range c.says {
				require.ErrorContains(t, err, text)
			}
			require.NotContains(t, err.Error(), `key ""`)
			if !c.made {
				require.NoDirExists(t, c.cfg.Dir)
			}
		})
	}
	dir := t.TempDir()
	require.NoError(t, openDir(t, store.Config{Dir: dir}).Close())
	require.ErrorIs(t, store.MigrateLog(t.Context(), dir, nil, none), store.ErrConfig)
	_, err = store.Verify(t.Context(), dir, store.FileOptions{OpenLog: none})
	require.ErrorIs(t, err, store.ErrConfig)
}
