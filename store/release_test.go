package store

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// renewRelease writes the data anew. Do that only as long as the release that they stand for is not out: afterwards
// they are what later releases have to be able to read.
var renewRelease = flag.Bool("renew-release", false, "write testdata/release1 anew")

const releaseDir = "testdata/release1"

// releaseCommands is every kind of command of version 1, in an order in which they do something.
func releaseCommands() []command {
	put := func(key, value string, lease int64) command {
		return command{kind: commandTxn, txn: &Txn{Then: []Op{{Put: &PutRequest{Key: []byte(key), Value: []byte(value), Lease: lease}}}}}
	}
	commands := []command{
		{kind: commandOpen, cluster: 77},
		{kind: commandDescribe, about: &attributes{name: "a", version: 1, urls: []string{"http://a:2379"}}},
		{kind: commandDescribe, about: &attributes{name: "b", version: 1}},
		{kind: commandForget, name: "b"},
		{kind: commandRaise, version: 1},
		{kind: commandGrant, lease: 7, ttl: time.Hour},
		{kind: commandGrant, lease: 8, ttl: time.Minute},
		{kind: commandGrant, lease: 9, ttl: time.Minute},
		put("a", "1", 0), put("a", "2", 7), put("b", "3", 8), put("c", "4", 9), put("e", "", 0),
		{kind: commandRenew, lease: 7},
		{kind: commandRevoke, lease: 8},
		{kind: commandExpire, lease: 9, renewals: 0, term: 3},
	}
	commands = append(commands, sampleCommands()...)
	commands = append(commands, put("z", "last", 7), command{kind: commandCompact, revision: 4})
	for i := range commands {
		if i%2 == 1 && commands[i].session == 0 {
			commands[i].session, commands[i].seq, commands[i].ack = 5, uint64(i), 1
		}
	}
	return slices.DeleteFunc(commands, func(c command) bool { return c.kind == commandRaise && c.version > 1 })
}

// run applies commands as a member does.
func run(encoded [][]byte) (*state, error) {
	st := newState()
	for _, p := range encoded {
		var c command
		if err := c.decodeInto(p); err != nil {
			return nil, err
		}
		st.mix(p)
		st.apply(&c, 3)
		st.mixEffect()
	}
	return st, nil
}

// TestReleaseOne reads what release 1 has written: its log entries, its snapshot, a directory. It writes the same too,
// as long as the cluster's version is 1.
func TestReleaseOne(t *testing.T) {
	if *renewRelease {
		writeRelease(t)
	}
	lines, err := os.ReadFile(filepath.Join(releaseDir, "commands.txt"))
	require.NoError(t, err)
	var encoded [][]byte
	kinds := map[commandKind]bool{}
	var result string
	for line := range strings.Lines(string(lines)) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if word == "state" {
			result = rest
			continue
		}
		p, err := hex.DecodeString(rest)
		require.NoError(t, err)
		c, err := decodeCommand(p)
		require.NoError(t, err, line)
		require.Equal(t, word, fmt.Sprint(c.kind))
		require.Equal(t, p, c.encode(nil), "what is written has changed")
		kinds[c.kind] = true
		encoded = append(encoded, p)
	}
	for kind := commandTxn; kind < commandNext; kind++ {
		c := command{kind: kind, txn: &Txn{}, about: &attributes{}}
		if _, err := decodeCommand(c.encode(nil)); err == nil && kind.since() == 1 {
			require.True(t, kinds[kind], "there is no command of kind %d", kind)
		}
	}
	entry := encodeEntry(encoded)
	require.EqualValues(t, 1, entry[0])
	again, err := decodeEntry(entry)
	require.NoError(t, err)
	st, err := run(again)
	require.NoError(t, err)
	require.Equal(t, result, stateLine(st), "the same commands make another state, or another hash")

	file, err := os.ReadFile(filepath.Join(releaseDir, "snapshot"))
	require.NoError(t, err)
	restored, err := decodeSnapshot(bytes.NewReader(file), formatVersion)
	require.NoError(t, err)
	require.Equal(t, result, stateLine(restored))
	var out bytes.Buffer
	require.NoError(t, restored.encodeWith(&out, restored.sessions))
	require.Equal(t, file, out.Bytes(), "what is written has changed")

	dir := t.TempDir()
	unpack(t, filepath.Join(releaseDir, "directory.tar.gz"), dir)
	s, err := Open(t.Context(), Config{Dir: dir})
	require.NoError(t, err)
	defer s.Close()
	for key, value := range map[string]string{"old": "in the snapshot", "new": "in the log"} {
		kv, found, err := s.Get(t.Context(), []byte(key))
		require.NoError(t, err)
		require.True(t, found, key)
		require.Equal(t, value, string(kv.Value))
	}
	lease, err := s.TimeToLive(t.Context(), 7)
	require.NoError(t, err)
	require.Equal(t, time.Hour, lease.TTL)
	require.Len(t, lease.Keys, 1)
}

func stateLine(st *state) string {
	return fmt.Sprintf("revision %d compacted %d cluster %d applied %d hash %016x keys %d bytes %d leases %d version %d members %v sessions %d",
		st.revision, st.compacted, st.cluster, st.applied, st.hash, st.keys, st.bytes, st.leases.Len(), st.version, st.members, st.sessions.Len())
}

func writeRelease(t *testing.T) {
	require.NoError(t, os.MkdirAll(releaseDir, 0o755))
	var text bytes.Buffer
	var encoded [][]byte
	for _, c := range releaseCommands() {
		p := c.encode(nil)
		encoded = append(encoded, p)
		fmt.Fprintf(&text, "%d %x\n", c.kind, p)
	}
	st, err := run(encoded)
	require.NoError(t, err)
	fmt.Fprintf(&text, "state %s\n", stateLine(st))
	require.NoError(t, os.WriteFile(filepath.Join(releaseDir, "commands.txt"), text.Bytes(), 0o644))
	var out bytes.Buffer
	require.NoError(t, st.encodeWith(&out, st.sessions))
	require.NoError(t, os.WriteFile(filepath.Join(releaseDir, "snapshot"), out.Bytes(), 0o644))

	dir := t.TempDir()
	s, err := Open(t.Context(), Config{Dir: dir})
	require.NoError(t, err)
	_, err = s.Grant(t.Context(), 7, time.Hour)
	require.NoError(t, err)
	_, err = s.Put(t.Context(), PutRequest{Key: []byte("old"), Value: []byte("in the snapshot"), Lease: 7})
	require.NoError(t, err)
	_, err = s.SaveSnapshot()
	require.NoError(t, err)
	_, err = s.Put(t.Context(), PutRequest{Key: []byte("new"), Value: []byte("in the log")})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	pack(t, dir, filepath.Join(releaseDir, "directory.tar.gz"))
}

func pack(t *testing.T, dir, name string) {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	require.NoError(t, w.AddFS(os.DirFS(dir)))
	require.NoError(t, w.Close())
	require.NoError(t, zip.Close())
	require.NoError(t, os.WriteFile(name, out.Bytes(), 0o644))
}

func unpack(t *testing.T, name, dir string) {
	t.Helper()
	file, err := os.Open(name)
	require.NoError(t, err)
	defer file.Close()
	zip, err := gzip.NewReader(bufio.NewReader(file))
	require.NoError(t, err)
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	for r := tar.NewReader(zip); ; {
		head, err := r.Next()
		if err == io.EOF {
			return
		}
		require.NoError(t, err)
		if head.FileInfo().Mode().Type() == fs.ModeDir {
			require.NoError(t, root.MkdirAll(strings.TrimSuffix(head.Name, "/"), 0o700))
			continue
		}
		require.NoError(t, root.MkdirAll(filepath.Dir(head.Name), 0o700))
		out, err := root.Create(head.Name)
		require.NoError(t, err)
		_, err = io.Copy(out, r)
		require.NoError(t, err)
		require.NoError(t, out.Close())
	}
}
