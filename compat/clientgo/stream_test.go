package clientgo

import (
	"bytes"
	"context"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/remotecommand"
	toolswatch "k8s.io/client-go/tools/watch"
	utilexec "k8s.io/client-go/util/exec"

	"github.com/keelson-dev/keelson"
)

// script uses only what every system has.
const script = `echo started; trap "exit 0" TERM; while :; do sleep 0.1; done`

// running makes a pod and waits until it is ready.
func running(t *testing.T, clients *kubernetes.Clientset, name string, command ...string) *corev1.Pod {
	t.Helper()
	grace := int64(1)
	pods := clients.CoreV1().Pods("default")
	_, err := pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
		TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{{Name: "c", Image: "shell", Command: command}},
	}}, metav1.CreateOptions{})
	require.NoError(t, err)
	byName := fields.OneTermEqualSelector("metadata.name", name).String()
	_, err = toolswatch.UntilWithSync(t.Context(), cache.NewListWatchFromClient(clients.CoreV1().RESTClient(), "pods", "default", fields.ParseSelectorOrDie(byName)), &corev1.Pod{}, nil,
		func(e watch.Event) (bool, error) {
			for _, c := range e.Object.(*corev1.Pod).Status.Conditions {
				if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
					return true, nil
				}
			}
			return false, nil
		})
	require.NoError(t, err)
	pod, err := pods.Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	return pod
}

// TestStreams executes in a pod, reads its log and forwards a port, each by every protocol that clients speak.
func TestStreams(t *testing.T) {
	config, clients := connect(t, keelson.Config{EmbeddedNetwork: true, Nodes: []keelson.NodeConfig{{Name: "n1"}}})
	running(t, clients, "p", "sh", "-c", script)
	t.Run("exec", func(t *testing.T) { testExec(t, config, clients) })
	t.Run("log", func(t *testing.T) { testLog(t, clients) })
}

func testExec(t *testing.T, config *rest.Config, clients *kubernetes.Clientset) {
	to := func(command ...string) *url.URL {
		return clients.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("p").SubResource("exec").
			VersionedParams(&corev1.PodExecOptions{Command: command, Stdin: true, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	}
	for name, executor := range map[string]func(*url.URL) (remotecommand.Executor, error){
		"WebSocket": func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutor(config, "GET", u.String())
		},
	} {
		t.Run(name, func(t *testing.T) {
			through := strings.Repeat("what goes in comes out\n", 10_000)
			e, err := executor(to("sh", "-c", "cat; echo aside >&2"))
			require.NoError(t, err)
			var out, aside bytes.Buffer
			require.NoError(t, e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader(through), Stdout: &out, Stderr: &aside}))
			require.Equal(t, through, out.String())
			require.Equal(t, "aside\n", aside.String())
			e, err = executor(to("sh", "-c", "exit 7"))
			require.NoError(t, err)
			var exit utilexec.ExitError
			require.ErrorAs(t, e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard}), &exit)
			require.Equal(t, 7, exit.ExitStatus())
		})
	}
}

func testLog(t *testing.T, clients *kubernetes.Clientset) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log, err := clients.CoreV1().Pods("default").GetLogs("p", &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	require.NoError(t, err)
	line := make([]byte, len("started\n"))
	_, err = io.ReadFull(log, line)
	require.NoError(t, err)
	require.Equal(t, "started\n", string(line))
	cancel()
	_, _ = io.Copy(io.Discard, log)
	require.NoError(t, log.Close())
}
