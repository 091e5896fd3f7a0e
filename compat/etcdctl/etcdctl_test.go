// Package etcdctl runs the command of that name against members.
package etcdctl

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keelson-dev/keelson/compat/member"
	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/etcdapi"

	_ "go.etcd.io/etcd/etcdctl/v3/ctlv3" // what build compiles
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// build compiles etcdctl as its module has it.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "etcdctl")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "go.etcd.io/etcd/etcdctl/v3").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// command is etcdctl with what it needs to reach some members.
type command struct {
	path string
	c    *member.Cluster
	ends []string
}

func (e command) at(i int) command {
	e.ends = e.c.Endpoints[i : i+1]
	return e
}

func (e command) make(ctx context.Context, args ...string) *exec.Cmd {
	all := append([]string{"--endpoints=" + strings.Join(e.ends, ",")}, args...)
	if e.c.CA != "" {
		all = append([]string{"--cacert=" + e.c.CA}, all...)
	}
	cmd := exec.CommandContext(ctx, e.path, all...)
	return cmd
}

// run returns what a command writes to both of its outputs.
func (e command) run(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := e.make(t.Context(), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (e command) ok(t *testing.T, args ...string) string {
	t.Helper()
	out, err := e.run(t, "", args...)
	require.NoError(t, err, "%v: %s", args, out)
	return out
}

// follow starts a command that does not end by itself, and returns its lines.
func (e command) follow(t *testing.T, args ...string) func() string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := e.make(ctx, args...)
	stdin, err := cmd.StdinPipe() // some commands end with it
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		_ = stdin.Close()
	})
	lines := bufio.NewReader(stdout)
	return func() string {
		t.Helper()
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		return strings.TrimSuffix(line, "\n")
	}
}

func TestEtcdctl(t *testing.T) {
	path := build(t)
	// Whoever waits for a promotion that can't be need not wait for long.
	member.Each(t, member.Config{API: etcdapi.Config{RequestTimeout: 3 * time.Second}}, func(t *testing.T, c *member.Cluster) {
		e := command{path, c, c.Endpoints}
		for _, test := range []struct {
			name string
			run  func(t *testing.T, e command)
		}{
			{"Transcript", testTranscript}, {"Formats", testFormats}, {"Txn", testTxn}, {"Watch", testWatch}, {"Lease", testLease},
			{"Lock", testLock}, {"Elect", testElect}, {"Mirror", testMirror}, {"Endpoint", testEndpoint}, {"Snapshot", testSnapshot},
			{"Members", testMembers},
		} {
			t.Run(test.name, func(t *testing.T) { test.run(t, e) })
		}
	})
}

// testTranscript has commands and exactly what they answer.
func testTranscript(t *testing.T, e command) {
	for _, test := range []struct {
		args, want string
		fails      bool
	}{
		{args: "put a 1", want: "OK\n"},
		{args: "put b 2", want: "OK\n"},
		{args: "put a 3 --prev-kv", want: "OK\na\n1\n"},
		{args: "get a", want: "a\n3\n"},
		{args: "get a --print-value-only", want: "3\n"},
		{args: "get a z --keys-only", want: "a\n\nb\n\n"},
		{args: "get a z --order=DESCEND --limit=1", want: "b\n2\n"},
		{args: "get a z --sort-by=VALUE --order=ASCEND --print-value-only", want: "2\n3\n"},
		{args: "get a --rev=2", want: "a\n1\n"},
		{args: "get a --consistency=s", want: "a\n3\n"},
		{args: "get --prefix= --count-only -w=fields", want: "*\"Count\" : 2\n*"},
		{args: "get a --rev=99", want: "*etcdserver: mvcc: required revision is a future revision*", fails: true},
		{args: "del b --prev-kv", want: "1\nb\n2\n"},
		{args: "del none", want: "0\n"},
		{args: "compaction 4", want: "compacted revision 4\n"},
		{args: "compaction 4 --physical", want: "*etcdserver: mvcc: required revision has been compacted*", fails: true},
		{args: "get a --rev=3", want: "*etcdserver: mvcc: required revision has been compacted*", fails: true},
		{args: "alarm list", want: ""},
		{args: "alarm disarm", want: ""},
		{args: "defrag", want: "*Finished defragmenting etcd member*"},
		{args: "auth status", want: "Authentication Status: false\nAuthRevision: 0\n"},
		{args: "auth enable", want: "*etcdserver: not capable*", fails: true},
		{args: "user add x:y", want: "*etcdserver: not capable*", fails: true},
		{args: "user list", want: "*etcdserver: not capable*", fails: true},
		{args: "role add x", want: "*etcdserver: not capable*", fails: true},
		{args: "downgrade validate 3.6.0", want: "*etcdserver: invalid downgrade target version*", fails: true},
		{args: "downgrade cancel", want: "*etcdserver: no inflight downgrade job*", fails: true},
		{args: "lease revoke 1234", want: "*etcdserver: requested lease not found*", fails: true},
		{args: "put \"\" x", want: "*etcdserver: key is not provided*", fails: true},
	} {
		args := strings.Fields(strings.ReplaceAll(test.args, `""`, "<empty>"))
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "<empty>", "")
		}
		if args[0] == "get" && args[1] == "--prefix=" {
			args = []string{"get", "", "--prefix", "--count-only", "-w=fields"}
		}
		out, err := e.run(t, "", args...)
		require.Equal(t, test.fails, err != nil, "%s: %s", test.args, out)
		if part, inside := strings.CutPrefix(test.want, "*"); inside {
			require.Contains(t, out, strings.TrimSuffix(part, "*"), test.args)
		} else {
			require.Equal(t, test.want, out, test.args)
		}
	}
}

func testFormats(t *testing.T, e command) {
	e.ok(t, "put", "format", "1")
	var got struct {
		Header struct {
			ClusterID uint64 `json:"cluster_id"`
			MemberID  uint64 `json:"member_id"`
			Revision  int64
			RaftTerm  uint64 `json:"raft_term"`
		}
		Kvs []struct{ Key, Value []byte }
	}
	require.NoError(t, json.Unmarshal([]byte(e.ok(t, "get", "format", "-w", "json")), &got))
	require.NotZero(t, got.Header.ClusterID)
	require.NotZero(t, got.Header.MemberID)
	require.NotZero(t, got.Header.RaftTerm)
	require.Equal(t, "1", string(got.Kvs[0].Value))
	require.Contains(t, e.ok(t, "get", "format", "-w", "fields"), `"Value" : "1"`)
	for _, args := range [][]string{{"member", "list"}, {"endpoint", "status"}, {"endpoint", "health"}, {"endpoint", "hashkv"}} {
		table := e.ok(t, append(args, "-w", "table")...)
		require.Equal(t, 4+len(strings.Split(strings.TrimSpace(e.ok(t, args...)), "\n")), len(strings.Split(strings.TrimSpace(table), "\n")), table)
	}
}

func testTxn(t *testing.T, e command) {
	e.ok(t, "put", "t/a", "1")
	out, err := e.run(t, "value(\"t/a\") = \"1\"\n\nput t/b 2\nget t/a\n\nput t/c 3\n\n", "txn", "--interactive=false")
	require.NoError(t, err, out)
	require.Equal(t, "SUCCESS\n\nOK\n\nt/a\n1\n", out)
	out, err = e.run(t, "mod(\"t/a\") = \"1\"\n\nput t/b 2\n\nget t/a\n\n", "txn")
	require.NoError(t, err, out)
	require.Equal(t, "FAILURE\n\nt/a\n1\n", out)
}

func testWatch(t *testing.T, e command) {
	var put struct{ Header struct{ Revision int64 } }
	require.NoError(t, json.Unmarshal([]byte(e.ok(t, "put", "w/a", "1", "-w", "json")), &put))
	line := e.follow(t, "watch", "w/", "--prefix", "--prev-kv", "--rev", fmt.Sprint(put.Header.Revision))
	for _, want := range []string{"PUT", "w/a", "1"} {
		require.Equal(t, want, strings.TrimSpace(line()))
	}
	e.ok(t, "put", "w/a", "2")
	e.ok(t, "del", "w/a")
	for _, want := range []string{"PUT", "w/a", "1", "w/a", "2", "DELETE", "w/a", "2", "w/a"} {
		require.Equal(t, want, strings.TrimSpace(line()))
	}
}

func testLease(t *testing.T, e command) {
	out := e.ok(t, "lease", "grant", "600")
	id := regexp.MustCompile(`lease ([0-9a-f]+) granted with TTL\(600s\)`).FindStringSubmatch(out)
	require.Len(t, id, 2, out)
	e.ok(t, "put", "l/a", "1", "--lease="+id[1])
	require.Equal(t, fmt.Sprintf("lease %s keepalived with TTL(600)\n", id[1]), e.ok(t, "lease", "keep-alive", "--once", id[1]))
	require.Regexp(t, fmt.Sprintf(`lease %s granted with TTL\(600s\), remaining\((600|59\d)s\), attached keys\(\[l/a\]\)`, id[1]),
		e.ok(t, "lease", "timetolive", id[1], "--keys"))
	require.Contains(t, e.ok(t, "lease", "list"), id[1])
	require.Equal(t, fmt.Sprintf("lease %s revoked\n", id[1]), e.ok(t, "lease", "revoke", id[1]))
	require.Empty(t, e.ok(t, "get", "l/a"))
	require.Contains(t, e.ok(t, "lease", "timetolive", id[1]), "already expired")
}

func testLock(t *testing.T, e command) {
	require.Equal(t, "inside\n", e.ok(t, "lock", "mutex", "echo", "inside"))
	holder := e.follow(t, "lock", "mutex")
	key := holder()
	require.Contains(t, key, "mutex/")
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	out, err := e.make(ctx, "lock", "--ttl=1", "mutex", "echo", "inside").CombinedOutput()
	require.Error(t, err, "it is held")
	require.NotContains(t, string(out), "inside")
	e.ok(t, "del", key) // as the holder would
	require.Contains(t, e.ok(t, "lock", "mutex", "echo", "inside"), "inside")
}

func testElect(t *testing.T, e command) {
	candidate := e.follow(t, "elect", "office", "me")
	require.Contains(t, candidate(), "office/")
	require.Equal(t, "me", candidate())
	observer := e.follow(t, "elect", "--listen", "office")
	require.Contains(t, observer(), "office/")
	require.Equal(t, "me", observer())
}

func testMirror(t *testing.T, e command) {
	to := member.Start(t, member.Config{})
	for i := range 5 {
		e.ok(t, "put", fmt.Sprint("mm/", i), fmt.Sprint(i))
	}
	e.follow(t, "make-mirror", "--prefix=mm/", "--dest-prefix=copy/", "--dest-insecure-transport=true", strings.TrimPrefix(to.Endpoints[0], "http://"))
	watcher, err := to.Stores[0].Watch(t.Context(), store.WatchRequest{Key: []byte("copy/"), End: []byte("copy0"), Revision: 1})
	require.NoError(t, err)
	defer watcher.Close()
	copied := map[string]string{}
	receive := func(n int) {
		for len(copied) < n {
			batch, err := watcher.Next(t.Context())
			require.NoError(t, err)
			for _, event := range batch.Events {
				copied[string(event.KV.Key)] = string(event.KV.Value)
			}
		}
	}
	receive(5)
	e.ok(t, "put", "mm/later", "x")
	receive(6)
	require.Equal(t, "x", copied["copy/later"])
	require.Equal(t, "3", copied["copy/3"])
}

func testEndpoint(t *testing.T, e command) {
	require.Equal(t, len(e.c.Stores), strings.Count(e.ok(t, "endpoint", "health"), "is healthy"))
	var statuses []struct {
		Endpoint string
		Status   struct {
			Header struct {
				MemberID uint64 `json:"member_id"`
			}
			Version string
			Leader  uint64
		}
	}
	require.NoError(t, json.Unmarshal([]byte(e.ok(t, "endpoint", "status", "-w", "json")), &statuses))
	require.Len(t, statuses, len(e.c.Stores))
	for _, s := range statuses {
		require.Equal(t, "3.7.0", s.Status.Version)
		require.NotZero(t, s.Status.Leader)
		require.Equal(t, statuses[0].Status.Leader, s.Status.Leader)
	}
	var put struct{ Header struct{ Revision int64 } }
	require.NoError(t, json.Unmarshal([]byte(e.ok(t, "put", "x", "y", "-w", "json")), &put))
	var hashes []struct{ HashKV struct{ Hash uint32 } }
	for i := range e.c.Stores {
		e.at(i).ok(t, "get", "x") // so that each has it
	}
	require.NoError(t, json.Unmarshal([]byte(e.ok(t, "endpoint", "hashkv", "--rev", fmt.Sprint(put.Header.Revision), "-w", "json")), &hashes))
	for _, h := range hashes {
		require.NotZero(t, h.HashKV.Hash)
		require.Equal(t, hashes[0].HashKV.Hash, h.HashKV.Hash)
	}
}

func testSnapshot(t *testing.T, e command) {
	e.ok(t, "put", "kept", "by snapshot")
	path := filepath.Join(t.TempDir(), "s.db")
	require.Contains(t, e.at(0).ok(t, "snapshot", "save", path), "Snapshot saved at "+path)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	sum := sha256.Sum256(content[:len(content)-sha256.Size])
	require.True(t, bytes.HasSuffix(content, sum[:]))
	restored, err := store.Open(t.Context(), store.Config{Restore: bytes.NewReader(content)})
	require.NoError(t, err)
	defer restored.Close()
	kv, found, err := restored.Get(t.Context(), []byte("kept"))
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "by snapshot", string(kv.Value))
}

// testMembers changes the members, if there are some.
func testMembers(t *testing.T, e command) {
	list := e.ok(t, "member", "list")
	require.Equal(t, len(e.c.Stores), strings.Count(list, "started"), list)
	if len(e.c.Stores) == 1 {
		out, err := e.run(t, "", "member", "add", "d", "--peer-urls=http://d@127.0.0.1:1")
		require.Error(t, err)
		require.Contains(t, out, "etcdserver: re-configuration failed", "a store without a name can't have peers")
		return
	}
	ids := regexp.MustCompile(`(?m)^([0-9a-f]+), started, ([abc]),`).FindAllStringSubmatch(list, -1)
	require.Len(t, ids, 3, list)
	leader, target := 0, ""
	for i, s := range e.c.Stores {
		st, err := s.Status(t.Context())
		require.NoError(t, err)
		if st.Leader {
			leader = i
		}
	}
	for _, id := range ids {
		if id[2] != e.c.Names[leader] {
			target = id[1]
		}
	}
	require.Contains(t, e.ok(t, "move-leader", target), "Leadership transferred from")
	out := e.ok(t, "member", "add", "d", "--learner", "--peer-urls=http://d@127.0.0.1:1")
	added := regexp.MustCompile(`Member\s+([0-9a-f]+) added as learner to cluster`).FindStringSubmatch(out)
	require.Len(t, added, 2, out)
	out, err := e.run(t, "", "member", "promote", added[1], "--command-timeout=20s")
	require.Error(t, err)
	require.Contains(t, out, "etcdserver: can only promote a learner member which is in sync with leader")
	require.Contains(t, e.ok(t, "member", "remove", added[1]), "removed from cluster")
	require.Equal(t, 3, strings.Count(e.ok(t, "member", "list"), "started"))
}
