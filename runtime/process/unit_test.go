package process

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConfig(t *testing.T) {
	for want, config := range map[string]Config{
		"Config.Root":                      {},
		"Config.StopGrace":                 {Root: "x", StopGrace: -1},
		"Config.Addresses is 10.0.0.0/8":   {Root: "x", Addresses: netip.MustParsePrefix("10.0.0.0/8")},
		"Config.Addresses is 127.0.0.0/31": {Root: "x", Addresses: netip.MustParsePrefix("127.0.0.0/31")},
		"Config.Addresses is ::1/128":      {Root: "x", Addresses: netip.MustParsePrefix("::1/128")},
		`Config.Environ has "NOVALUE"`:     {Root: "x", Environ: []string{"NOVALUE"}},
		`Config.Environ has "=x"`:          {Root: "x", Environ: []string{"=x"}},
		"is in use by another runtime":     {Root: "used"},
	} {
		t.Run(want, func(t *testing.T) {
			if config.Root != "" {
				config.Root = filepath.Join(t.TempDir(), config.Root)
			}
			if filepath.Base(config.Root) == "used" {
				first, err := New(config)
				require.NoError(t, err)
				defer first.Close(t.Context())
			}
			_, err := New(config)
			require.ErrorContains(t, err, want)
		})
	}
}

func TestAddresses(t *testing.T) {
	a, err := newAddresses(netip.MustParsePrefix("127.5.0.0/29"), "")
	require.NoError(t, err)
	a.claim(netip.MustParseAddr("127.5.0.2"))
	var got []string
	for range 5 {
		addr, err := a.take()
		require.NoError(t, err)
		got = append(got, addr.String())
	}
	require.Equal(t, []string{"127.5.0.3", "127.5.0.4", "127.5.0.5", "127.5.0.6", "127.5.0.1"}, got)
	_, err = a.take()
	require.ErrorContains(t, err, "in use")
	a.release(netip.MustParseAddr("127.5.0.4"))
	addr, err := a.take()
	require.NoError(t, err)
	require.Equal(t, "127.5.0.4", addr.String())

	one, err := newAddresses(netip.Prefix{}, "/one")
	require.NoError(t, err)
	require.True(t, netip.MustParsePrefix("127.128.0.0/9").Contains(one.prefix.Addr()))
	require.Equal(t, 20, one.prefix.Bits())
}

func TestLogLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs")
	log, err := openLog(path, "sub/c.log")
	require.NoError(t, err)
	tapped := 0
	input := "one\n\n" + strings.Repeat("x", maxLogLine) + "\n" + strings.Repeat("y", maxLogLine+5) + "\nlast"
	log.copy("stdout", strings.NewReader(input), func(b []byte) { tapped += len(b) })
	log.close()
	require.Equal(t, len(input), tapped)
	content, err := os.ReadFile(filepath.Join(path, "sub", "c.log"))
	require.NoError(t, err)
	var got []string
	for line := range strings.Lines(string(content)) {
		_, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		require.True(t, ok)
		if len(rest) > 20 {
			rest = rest[:10] + "*" + string(rune('0'+len(rest)%10))
		}
		got = append(got, rest)
	}
	require.Equal(t, []string{"stdout F one", "stdout F ", "stdout F x*3", "stdout P y*3", "stdout F yyyyy", "stdout F last"}, got)

	_, err = openLog(path, "../outside.log")
	require.Error(t, err)
}

func TestLastOfEach(t *testing.T) {
	require.Equal(t, []string{"A=3", "B=2", "C="}, lastOfEach([]string{"A=1", "B=2", "A=3", "C="}))
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 'q'})
	f.Add([]byte{0, 0, 0, 3, '1', 'a', 'b', 0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 'x'})
	f.Add([]byte{0, 0xff, 0xff, 0xff, 'x', 1, 2, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		for {
			before := r.Len()
			_, payload, err := readFrame(r)
			if err != nil {
				return
			}
			require.Equal(t, before-5-len(payload), r.Len())
		}
	})
}
