package process_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keelson-dev/keelson/runtime/process"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func mountOf(host, container string) *runtimeapi.Mount {
	return &runtimeapi.Mount{HostPath: host, ContainerPath: container}
}

// needNamespaces skips where pods can't have mount namespaces.
func needNamespaces(t *testing.T, r *process.Runtime) {
	t.Helper()
	newPod(t, r, "probe")
	answer, err := r.Status(t.Context(), true)
	require.NoError(t, err)
	if answer.Info["isolation"] == "none" {
		t.Skipf("this machine gives pods no mount namespace (missing: unprivileged user namespaces): %s", answer.Info["isolationDenied"])
	}
}

func TestMounts(t *testing.T) {
	for _, name := range []string{"namespaces", "no pid namespace"} {
		t.Run(name, func(t *testing.T) {
			r := open(t, process.Config{})
			if name == "no pid namespace" {
				process.WithoutPID(r)
			}
			testMounts(t, r)
		})
	}
}

func testMounts(t *testing.T, r *process.Runtime) {
	needNamespaces(t, r)
	dir := t.TempDir()
	volume, message, hosts := filepath.Join(dir, "volume"), filepath.Join(dir, "message"), filepath.Join(dir, "hosts")
	require.NoError(t, os.Mkdir(volume, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(volume, "token"), []byte("secret"), 0o644))
	require.NoError(t, os.WriteFile(message, nil, 0o644))
	require.NoError(t, os.WriteFile(hosts, []byte("127.9.9.9 here"), 0o644))
	before, err := os.ReadDir("/")
	require.NoError(t, err)

	p := newPod(t, r, "one")
	config := containerConfig("c", "sleep", "1000")
	account := mountOf(volume, "/var/run/secrets/kubernetes.io/serviceaccount")
	account.Readonly = true
	config.Mounts = []*runtimeapi.Mount{
		account,
		mountOf(filepath.Join(dir, "made"), "/keelson-none/deep/er"), // made on both sides
		mountOf(volume, "/keelson-none/deep/er/nested"),
		mountOf(volume, "/keelson-none"),
		mountOf(message, "/dev/termination-log"),
		mountOf(hosts, "/etc/hosts"),
		mountOf(volume, "/etc/keelson-none"),
	}
	config.WorkingDir = "/keelson-none"
	config.Envs = []*runtimeapi.KeyValue{{Key: "GREETING", Value: []byte("hello")}}
	id := p.start(config)

	require.Equal(t, "secret", p.exec(id, "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"))
	require.Equal(t, "secret", p.exec(id, "cat", "token"), "in the working directory")
	require.Equal(t, "127.9.9.9 here", p.exec(id, "cat", "/etc/hosts"))
	require.Equal(t, "hello", p.exec(id, "sh", "-c", "printf %s $GREETING"))
	require.Equal(t, "one\n", p.exec(id, "hostname"))
	_, errs, err := r.ExecSync(t.Context(), id, []string{"touch", "/var/run/secrets/kubernetes.io/serviceaccount/x"}, 0)
	require.Error(t, err)
	require.Contains(t, string(errs), "Read-only")
	p.exec(id, "sh", "-c", "echo bye > /dev/termination-log; echo new > /keelson-none/written; echo > /dev/null; cat /etc/passwd > /dev/null")
	content, err := os.ReadFile(message)
	require.NoError(t, err)
	require.Equal(t, "bye\n", string(content))
	content, err = os.ReadFile(filepath.Join(volume, "written"))
	require.NoError(t, err)
	require.Equal(t, "new\n", string(content))
	info, err := os.Stat(filepath.Join(volume, "written"))
	require.NoError(t, err)
	require.EqualValues(t, os.Geteuid(), info.Sys().(*syscall.Stat_t).Uid, "files belong to the user")

	after, err := os.ReadDir("/")
	require.NoError(t, err)
	require.Len(t, after, len(before), "nothing is made on the host")
	require.NoFileExists(t, "/etc/keelson-none")
	table, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(table), dir, "mounts don't leak")
}

func TestReadonlyRoot(t *testing.T) {
	r := open(t, process.Config{})
	needNamespaces(t, r)
	volume := t.TempDir()
	p := newPod(t, r, "one")
	config := containerConfig("c", "sleep", "1000")
	config.Linux = &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{ReadonlyRootfs: true, NoNewPrivs: true}}
	config.Mounts = []*runtimeapi.Mount{mountOf(volume, "/data")}
	id := p.start(config)
	p.exec(id, "touch", "/data/file")
	_, errs, err := r.ExecSync(t.Context(), id, []string{"touch", "/tmp/keelson-none"}, 0)
	require.Error(t, err)
	require.Contains(t, string(errs), "Read-only")
	require.Contains(t, p.exec(id, "cat", "/proc/self/status"), "NoNewPrivs:\t1")
}

func TestResolver(t *testing.T) {
	r := open(t, process.Config{})
	needNamespaces(t, r)
	config := podConfig("dns")
	config.DnsConfig = &runtimeapi.DNSConfig{Servers: []string{"127.1.0.10"}, Searches: []string{"a.svc", "svc"}, Options: []string{"ndots:5"}}
	id, err := r.RunPodSandbox(t.Context(), config, "")
	require.NoError(t, err)
	p := &pod{T: t, r: r, id: id}
	c := p.start(containerConfig("c", "sleep", "1000"))
	require.Equal(t, "search a.svc svc\nnameserver 127.1.0.10\noptions ndots:5\n", p.exec(c, "cat", "/etc/resolv.conf"))
}

// Without a mount namespace only what needs none is possible, and the error says what to do.
func TestMountsRefused(t *testing.T) {
	for name, config := range map[string]process.Config{"no namespaces": {NoNamespaces: true}, "in process": {InProcess: true}} {
		t.Run(name, func(t *testing.T) {
			r := open(t, config)
			p := newPod(t, r, "one")
			dir := t.TempDir()
			c := containerConfig("c", "sleep", "1000")
			c.Mounts = []*runtimeapi.Mount{mountOf(dir, "/var/run/secrets/x")}
			_, err := r.CreateContainer(t.Context(), p.id, c, nil)
			require.Equal(t, codes.InvalidArgument, status.Code(err))
			require.ErrorContains(t, err, "/var/run/secrets/x")
			require.ErrorContains(t, err, "mount namespace")
			require.ErrorContains(t, err, "process.Main")

			answer, err := r.PodSandboxStatus(t.Context(), p.id, true)
			require.NoError(t, err)
			inside := filepath.Join(answer.Info["directory"], "root", "data", "volume")
			c.Mounts = []*runtimeapi.Mount{mountOf(dir, dir), mountOf(dir, inside)}
			id := p.start(c)
			p.exec(id, "touch", inside+"/file")
			require.FileExists(t, filepath.Join(dir, "file"))
		})
	}
}

func TestRunAsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can run containers as somebody else")
	}
	r := open(t, process.Config{})
	p := newPod(t, r, "one")
	config := containerConfig("c", "sleep", "1000")
	config.Linux = &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
		RunAsUser: &runtimeapi.Int64Value{Value: 1234}, RunAsGroup: &runtimeapi.Int64Value{Value: 2345}, SupplementalGroups: []int64{3456}}}
	id := p.start(config)
	require.Equal(t, "x\n", p.exec(id, "sh", "-c", "echo x > /dev/stdout"))
	require.Equal(t, "1234:2345:2345 3456\n", p.exec(id, "sh", "-c", "echo $(id -u):$(id -g):$(id -G)"))
}

// The tests that depend on who runs them, run by an ordinary user when root runs this.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this is an ordinary user: the tests run as one anyhow")
	}
	dir, err := os.MkdirTemp("", "keelson-user-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	home := filepath.Join(dir, "tmp")
	require.NoError(t, os.Mkdir(home, 0o700))
	require.NoError(t, os.Chown(home, 65534, 65534))
	binary := filepath.Join(dir, "process.test")
	in, err := os.Open("/proc/self/exe")
	require.NoError(t, err)
	defer in.Close()
	out, err := os.OpenFile(binary, os.O_WRONLY|os.O_CREATE, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(out, in)
	require.NoError(t, err)
	require.NoError(t, out.Close())

	cmd := exec.Command(binary, "-test.run=^(TestMounts|TestReadonlyRoot|TestRecovery|TestSupervisorKilled)$/^(namespaces|no pid namespace|supervised)?$",
		"-test.v", "-test.timeout=120s")
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "TMPDIR="+home, "HOME="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
	if strings.Contains(string(said), "--- SKIP: TestMounts/namespaces") {
		t.Skip("ordinary users have no user namespaces on this machine: pods run without mounts of their own")
	}
	require.Contains(t, string(said), "--- PASS: TestMounts/namespaces")
}

// TestMountRoot: an image whose programs look for their mounts below a directory gets them where a pod has no mount
// namespace, and at their own paths where it has one.
func TestMountRoot(t *testing.T) {
	images := process.ResolverFunc(func(context.Context, string) (process.Image, error) {
		return process.Image{MountRoot: "MOUNTS"}, nil
	})
	for name, c := range map[string]process.Config{"namespaces": {}, "no namespaces": {NoNamespaces: true}, "in process": {InProcess: true}} {
		t.Run(name, func(t *testing.T) {
			c.Images = images
			r := open(t, c)
			if name == "namespaces" {
				needNamespaces(t, r)
			}
			p := newPod(t, r, "one")
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "page"), []byte("a page"), 0o644))
			config := containerConfig("c", "sleep", "1000")
			config.Mounts = []*runtimeapi.Mount{mountOf(dir, "/etc/keelson-test")}
			for attempt := range uint32(2) { // the second finds the links of the first
				config.Metadata.Attempt = attempt
				id := p.start(config)
				require.Equal(t, "a page", p.exec(id, "sh", "-c", `cat "$MOUNTS/etc/keelson-test/page"`))
				told := p.exec(id, "sh", "-c", `printf %s "$MOUNTS"`)
				require.Equal(t, name == "namespaces", told == "", told)
			}

			nested := containerConfig("nested", "true")
			nested.Mounts = []*runtimeapi.Mount{mountOf(dir, "/etc/keelson-test"), mountOf(dir, "/etc/keelson-test/below")}
			if name != "namespaces" {
				_, err := r.CreateContainer(t.Context(), p.id, nested, nil)
				require.Equal(t, codes.InvalidArgument, status.Code(err))
				require.ErrorContains(t, err, "can't be nested")
			}
		})
	}
}
