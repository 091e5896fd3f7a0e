package store

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// testKey is a key whose secret follows from its name.
func testKey(id string) Key {
	secret := bytes.Repeat([]byte{0x5c}, KeySize)
	copy(secret, id)
	return Key{id, secret}
}

func TestKeyFile(t *testing.T) {
	secret := func(b byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, KeySize)) }
	path := filepath.Join(t.TempDir(), "keys")
	keys := KeyFile(path)
	_, err := keys.Current(t.Context())
	require.ErrorIs(t, err, ErrKey)
	require.ErrorIs(t, err, os.ErrNotExist)
	for what, text := range map[string]string{
		"nothing":      "# comment\n\n",
		"one field":    "name\n",
		"three fields": "name " + secret(1) + " more\n",
		"not base64":   "name ????\n",
		"short":        "name " + secret(1)[:8] + "\n",
		"a name twice": "a " + secret(1) + "\na " + secret(2) + "\n",
		"long name":    fmt.Sprintf("%065d %s\n", 1, secret(1)),
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := keys.Current(t.Context())
		require.ErrorIs(t, err, ErrKey, what)
		require.NotContains(t, err.Error(), secret(1), what)
	}
	require.NoError(t, os.WriteFile(path, []byte("# two\nnew "+secret(2)+"\n\n  old\t"+secret(1)+"\n"), 0o600))
	current, err := keys.Current(t.Context())
	require.NoError(t, err)
	require.Equal(t, Key{"new", bytes.Repeat([]byte{2}, KeySize)}, current)
	old, err := keys.Key(t.Context(), "old")
	require.NoError(t, err)
	require.Equal(t, Key{"old", bytes.Repeat([]byte{1}, KeySize)}, old)
	_, err = keys.Key(t.Context(), "older")
	var missing *KeyError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, "older", missing.ID)
	require.ErrorIs(t, err, ErrKey)
}

func TestKeyDoesNotShowItsSecret(t *testing.T) {
	key := testKey("k")
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		require.Equal(t, "key k", fmt.Sprintf(format, key))
	}
	for _, format := range []string{"%v", "%+v"} {
		require.NotContains(t, fmt.Sprintf(format, StaticKeys{key}), "92")
	}
}
