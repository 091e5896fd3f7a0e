package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/keelson-dev/keelson/store"
)

// program is a run of the program in this process.
type program struct {
	stop  context.CancelFunc
	ended chan error

	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed when text grows
}

func start(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &program{stop: cancel, ended: make(chan error, 1), more: make(chan struct{})}
	go func() { p.ended <- dispatch(ctx, args, p) }()
	t.Cleanup(cancel)
	return p
}

func (p *program) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.more)
	p.more = make(chan struct{})
	return p.text.Write(text)
}

// says waits until the program has printed something, and returns the rest of that line.
func (p *program) says(t *testing.T, what string) string {
	t.Helper()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for {
		p.mu.Lock()
		text, more := p.text.String(), p.more
		p.mu.Unlock()
		if _, rest, found := strings.Cut(text, what); found && strings.Contains(rest, "\n") {
			rest, _, _ = strings.Cut(rest, "\n")
			return rest
		}
		select {
		case <-more:
		case err := <-p.ended:
			require.Fail(t, "it ended", "%v\n%s", err, text)
		case <-late.C:
			require.Fail(t, "it did not say "+what, text)
		}
	}
}

func (p *program) finish(t *testing.T) {
	t.Helper()
	p.stop()
	require.NoError(t, <-p.ended)
}

// run runs a command to its end.
func run(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, dispatch(t.Context(), args, &out), "%v\n%s", args, out.String())
	return out.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func TestMistakes(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	dir := t.TempDir()
	open := start(t, "--data-dir", dir, "--listen-client", "127.0.0.1:0")
	open.says(t, "serving at ")
	for _, c := range []struct {
		args string
		says string
	}{
		{"nonsense", `unknown command "nonsense"`},
		{"--nonsense", "not defined"},
		{"surplus --listen-client 127.0.0.1:0", `unknown command "surplus"`},
		{"--listen-client 2379", "--listen-client"},
		{"--peers a=127.0.0.1:1", "--name is missing"},
		{"--name a", "--peers is missing"},
		{"--name a --peers b=127.0.0.1:1,c=127.0.0.1:2", `--name "a" is not in --peers, which has b, c`},
		{"--name a --peers a", "want NAME=HOST:PORT"},
		{"--name a --peers a=127.0.0.1:1", "--data-dir is missing"},
		{"--name a --peers a=127.0.0.1:1 --data-dir x --join", "--join needs a running member"},
		{"--name a --peers a=127.0.0.1:1 --data-dir x --cert y", "--cert, --key and --ca belong together"},
		{"--name a --peers a=127.0.0.1:1 --data-dir x --cert y --key y --ca y", "kvstore certs"},
		{"--listen-client " + taken.Addr().String(), "another program has this port"},
		{"--listen-client 127.0.0.1:0 --name a --data-dir x --peers a=" + taken.Addr().String(), "another program has this port"},
		{"--listen-client 127.0.0.1:0 --data-dir " + dir, "another process uses " + dir},
		{"--log-store paper", "want bolt or wal"},
		{"--keys nowhere", "--keys"},
		{"certs", "names are missing"},
		{"verify", "--data-dir is missing"},
		{"compact surplus", "unknown argument"},
		{"verify --data-dir nowhere", "--data-dir nowhere does not exist: want the directory"},
		{"compact --data-dir nowhere", "--data-dir nowhere does not exist"},
		{"recover --data-dir nowhere", "--data-dir nowhere does not exist"},
		{"migrate-log wal --data-dir nowhere", "--data-dir nowhere does not exist"},
		{"migrate-log --data-dir nowhere", "the log store to go to"},
		{"migrate-log wal --data-dir " + dir, "in use"},
		{"recover --data-dir " + dir, "in use"},
		{"recover --name a --data-dir x --peers a=127.0.0.1:1,b=127.0.0.1:2", "alone"},
		{"member frobnicate", "want member list"},
		{"member add a nowhere", "want HOST:PORT"},
		{"snapshot restore nothing", "--data-dir is missing"},
		{"status --endpoints " + freePort(t) + " surplus", `unknown argument "surplus"`},
	} {
		var out bytes.Buffer
		err := dispatch(t.Context(), strings.Fields(c.args), &out)
		require.Error(t, err, c.args)
		require.Contains(t, err.Error(), c.says, c.args)
	}
	open.finish(t)
	_, err = os.Stat("x")
	require.ErrorIs(t, err, os.ErrNotExist, "a call that failed has left something")
}

// TestKeysMissing starts on encrypted files without their keys, or with others: it says which flag is wrong, and not
// that the files are damaged.
func TestKeysMissing(t *testing.T) {
	dir := t.TempDir()
	data, right, wrong := filepath.Join(dir, "data"), filepath.Join(dir, "right"), filepath.Join(dir, "wrong")
	for name, file := range map[string]string{"2026": right, "2027": wrong} {
		line := name + " " + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, store.KeySize)) + "\n"
		require.NoError(t, os.WriteFile(file, []byte(line), 0o600))
	}
	s, err := store.Open(t.Context(), store.Config{Dir: data, Keys: store.KeyFile(right)})
	require.NoError(t, err)
	_, err = s.Put(t.Context(), store.PutRequest{Key: []byte("a")})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	for says, args := range map[string][]string{
		"are encrypted: --keys must name":                 {"--listen-client", "127.0.0.1:0", "--data-dir", data},
		"--keys " + wrong + " does not have the keys":     {"--listen-client", "127.0.0.1:0", "--data-dir", data, "--keys", wrong},
		"in " + data + " are encrypted: --keys must name": {"recover", "--data-dir", data},
	} {
		err := dispatch(t.Context(), args, io.Discard)
		require.ErrorIs(t, err, store.ErrKey, "%v", args)
		require.ErrorContains(t, err, says, "%v", args)
		require.ErrorContains(t, err, "2026", "%v", args)
		require.NotContains(t, err.Error(), "damaged", "%v", args)
	}
}

// TestMigrateLog moves a member's log to the other log store and back.
func TestMigrateLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s, err := store.Open(t.Context(), store.Config{Dir: dir})
	require.NoError(t, err)
	_, err = s.Put(t.Context(), store.PutRequest{Key: []byte("a")})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	for i, to := range []string{"bolt", "wal"} {
		require.Contains(t, run(t, "migrate-log", to, "--data-dir", dir), dir+" is in "+to+" now")
		args := []string{"--data-dir", dir, "--log-store", to}
		if i > 0 {
			args = args[:2]
		}
		require.Contains(t, run(t, append([]string{"verify"}, args...)...), " 1 keys")
		member := start(t, append([]string{"--listen-client", "127.0.0.1:0"}, args...)...)
		member.says(t, "serving at ")
		member.finish(t)
		require.Contains(t, run(t, "compact", "--data-dir", dir), "bytes before")
	}
	require.ErrorIs(t, dispatch(t.Context(), []string{"migrate-log", "bolt", "--log-store", "bolt", "--data-dir", dir}, io.Discard), store.ErrLogStore)
}

// TestCluster goes through README.md: three members with TLS, one more, one less, a back-up.
func TestMetrics(t *testing.T) {
	p := start(t, "--listen-client", "127.0.0.1:0")
	url, _, _ := strings.Cut(p.says(t, "serving at "), "\n")
	answer, err := http.Get(url + "/metrics")
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.Contains(t, string(text), "keelson_store_has_leader 1")
	require.Contains(t, string(text), "go_goroutines")
	http.DefaultClient.CloseIdleConnections()
	p.finish(t)
}

func TestCluster(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	run(t, "certs", "a", "b", "c", "d", "--dir", file("certs"))
	names := []string{"a", "b", "c", "d"}
	addrs, peers := map[string]string{}, []string{}
	for _, name := range names {
		addrs[name] = freePort(t)
		peers = append(peers, name+"="+addrs[name])
	}
	member := func(name string, peers []string, more ...string) *program {
		cert, key := file("certs/"+name+".crt"), file("certs/"+name+".key")
		return start(t, append([]string{
			"--name", name, "--data-dir", file(name), "--listen-client", "127.0.0.1:0", "--peers", strings.Join(peers, ","),
			"--cert", cert, "--key", key, "--ca", file("certs/ca.crt"), "--client-cert", cert, "--client-key", key,
		}, more...)...)
	}
	members := map[string]*program{}
	members["a"] = member("a", peers[:3])
	members["a"].says(t, "waiting for a majority, 2 of the members a, b, c")
	keys := "2026 " + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, store.KeySize)) + "\n"
	require.NoError(t, os.WriteFile(file("keys"), []byte(keys), 0o600))
	members["b"], members["c"] = member("b", peers[:3], "--log-store", "wal"), member("c", peers[:3], "--keys", file("keys"))
	url, _, _ := strings.Cut(members["a"].says(t, "serving at "), ";")
	at := []string{"--client-ca", file("certs/ca.crt"), "--endpoints", url}
	command := func(args ...string) string { return run(t, append(args, at...)...) }

	require.Contains(t, command("status"), "\n"+strings.TrimPrefix(url, "https://"))
	conn := connect(t, file("certs/ca.crt"), url)
	_, err := pb.NewKVClient(conn).Put(t.Context(), &pb.PutRequest{Key: []byte("greeting"), Value: []byte("hello")})
	require.NoError(t, err)

	require.Contains(t, command("member", "add", "d", addrs["d"]), "added d")
	members["d"] = member("d", peers, "--join")
	require.Contains(t, members["d"].says(t, "the members are "), "a, b, c, d")
	list := command("member", "list")
	for _, name := range names {
		require.Contains(t, list, addrs[name], "member %s", name)
	}
	command("move-leader", "b")
	require.Contains(t, command("member", "remove", "c"), "removed c")
	members["c"].finish(t)
	require.NotContains(t, command("member", "list"), addrs["c"])

	command("snapshot", "save", file("backup"))
	require.Contains(t, run(t, "snapshot", "restore", file("backup"), "--data-dir", file("new"), "--name", "n", "--peers", "n="+freePort(t)), "1 keys")
	damaged, err := os.ReadFile(file("backup"))
	require.NoError(t, err)
	damaged[len(damaged)/2] ^= 1
	require.NoError(t, os.WriteFile(file("damaged"), damaged, 0o600))
	require.ErrorContains(t, dispatch(t.Context(), []string{"snapshot", "restore", file("damaged"), "--data-dir", file("other")}, &bytes.Buffer{}), "checksum is wrong")
	for _, name := range []string{"d", "b", "a"} {
		members[name].finish(t)
	}

	waiting := member("a", peers) // which still have c
	waiting.says(t, "waiting for a majority, 2 of the members a, b, d (")
	waiting.finish(t)

	// b and d are lost: a goes on alone.
	require.Contains(t, run(t, "verify", "--data-dir", file("a")), "1 keys")
	require.Contains(t, run(t, "compact", "--data-dir", file("a")), "bytes before")
	alone := []string{"a=" + addrs["a"]}
	require.Contains(t, run(t, "recover", "--data-dir", file("a"), "--name", "a", "--peers", alone[0]), "1 keys")
	recovered := member("a", alone)
	url, _, _ = strings.Cut(recovered.says(t, "serving at "), ";")
	got, err := pb.NewKVClient(connect(t, file("certs/ca.crt"), url)).Range(t.Context(), &pb.RangeRequest{Key: []byte("greeting")})
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1)
	require.Equal(t, "hello", string(got.Kvs[0].Value))
	recovered.finish(t)
	segment, err := os.ReadFile(file("b/wal/0000000000000001.wal"))
	require.NoError(t, err)
	segment[600] ^= 1
	require.NoError(t, os.WriteFile(file("b/wal/0000000000000001.wal"), segment, 0o600))
	require.Error(t, dispatch(t.Context(), []string{"verify", "--data-dir", file("b"), "--log-store", "wal"}, &bytes.Buffer{}), "it is damaged")
}

func connect(t *testing.T, ca, url string) *grpc.ClientConn {
	t.Helper()
	credentials, err := certFiles{ca: ca}.clientCredentials()
	require.NoError(t, err)
	conn, err := grpc.NewClient("passthrough:///"+strings.TrimPrefix(url, "https://"), grpc.WithTransportCredentials(credentials))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
