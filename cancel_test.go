package keelson_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson"
)

// TestRunEndedWhileItStarts ends clusters before and at different moments of their start. None of that is an error.
func TestRunEndedWhileItStarts(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond, 30 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			t.Parallel()
			c, err := keelson.New(keelson.Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Proxy: &keelson.ProxyConfig{}})
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			require.NoError(t, c.Run(ctx))
		})
	}
}
