package client_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/apiserver/client"
)

func TestParseRevision(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "0": 0, "1": 1, "9223372036854775807": 1<<63 - 1} {
		got, err := client.ParseRevision(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"-1", "01", "+1", "1.0", " 1", "0x1", "9223372036854775808", "one"} {
		_, err := client.ParseRevision(text)
		require.ErrorContains(t, err, `resource version "`+text+`": want`)
	}
}

func FuzzParseRevision(f *testing.F) {
	for _, text := range []string{"", "0", "42", "-0", "007", "1e3", "9223372036854775807"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := client.ParseRevision(text)
		switch {
		case err != nil:
			require.Zero(t, n)
		case text != "":
			require.Equal(t, text, client.FormatRevision(n), "what is read is what was written")
		}
	})
}
