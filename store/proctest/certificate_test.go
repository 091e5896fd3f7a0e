//go:build unix

package proctest

import (
	"context"
	"crypto/tls"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/apiserver/authn/pki"
)

// logs waits until a member has logged a line with all of the texts.
func (c *cluster) logs(name string, texts ...string) {
	c.t.Helper()
	tick, late := time.NewTicker(20*time.Millisecond), time.NewTimer(time.Minute)
	defer tick.Stop()
	defer late.Stop()
	for {
		content, err := os.ReadFile(filepath.Join(c.dir, name+".log"))
		require.NoError(c.t, err)
	lines:
		for line := range strings.Lines(string(content)) {
			for _, text := range texts {
				if !strings.Contains(line, text) {
					continue lines
				}
			}
			return
		}
		select {
		case <-tick.C:
		case <-late.C:
			require.Fail(c.t, "nothing was logged", "%q at %s\n%s", texts, name, content)
		}
	}
}

// TestCertificates gives a member certificates that the others must not take, and which of them it was must be in the
// logs of both sides. Then it gets a good one, while it runs, and is a member at once.
func TestCertificates(t *testing.T) {
	t.Parallel()
	stranger, err := pki.NewCA("stranger", 0)
	require.NoError(t, err)
	names := []string{"a", "b", "c"}
	c := found(t, names...)
	l := drive(c, 4, "a", "b")
	good := pki.Request{CommonName: "c", Hosts: []string{"c"}, Client: true}
	for _, bad := range []struct {
		what         string
		ca           *pki.CA
		request      pki.Request
		server, self string // what is logged at the member that refuses, and at the one that is refused
	}{
		{"another's name", c.ca, pki.Request{CommonName: "x", Hosts: []string{"x"}, Client: true}, "certificate is valid for x, not c", ""},
		{"another authority", stranger, good, "certificate signed by unknown authority", "remote error: tls: unknown certificate authority"},
		{"expired", c.ca, pki.Request{CommonName: "c", Hosts: []string{"c"}, Client: true, Validity: time.Nanosecond}, "certificate has expired", "remote error: tls: expired certificate"},
	} {
		t.Log(bad.what)
		l.await(20)
		c.process("c").stop(t)
		c.certify("c", bad.ca, bad.request)
		c.start("c")
		leader := c.leader("a")
		c.logs(leader, "a member can't be reached", `"member": "c"`, bad.server)
		if bad.self != "" {
			c.logs("c", "a member can't be reached", bad.self)
		}
		c.logs(map[bool]string{true: "b", false: "a"}[leader == "a"], "a connection was refused", bad.server)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := c.process("c").ask(ctx, request{Op: "revision"})
		cancel()
		require.Error(t, err, "it is not let in")
		l.await(20) // the others go on
		c.certify("c", c.ca, good)
		c.serves("c") // without having been restarted
	}
	l.finish(names...)
}

// TestRotation replaces every member's certificate while they run. New connections have the new ones.
func TestRotation(t *testing.T) {
	t.Parallel()
	names := []string{"a", "b", "c"}
	c := found(t, names...)
	l := drive(c, 3, names...)
	l.await(100)
	shown := func(name string) *big.Int {
		cfg, err := c.node("a").cfg.tls()
		require.NoError(t, err)
		cfg.ServerName, cfg.NextProtos = name, []string{"keelson-store"}
		i := map[string]int{"a": 0, "b": 1, "c": 2}[name]
		conn, err := tls.Dial("tcp", c.node(name).cfg.Peers[i].Addr, cfg)
		require.NoError(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber
	}
	for _, name := range names {
		before := shown(name)
		require.Equal(t, before, shown(name))
		c.certify(name, c.ca, pki.Request{CommonName: name, Hosts: []string{name}, Client: true})
		require.NotEqual(t, before, shown(name))
	}
	c.process("b").kill(t)
	c.start("b")
	c.serves("b")
	require.True(t, c.voters("b") == 3)
	l.finish(names...)
}
