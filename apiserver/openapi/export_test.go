package openapi

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// References are the names that a schema refers to.
var References = references

// ReadPackage reads the data of a package.
func ReadPackage(t testing.TB, name string) map[string]json.RawMessage {
	t.Helper()
	out, err := readPackage(name)
	require.NoError(t, err)
	return out
}
