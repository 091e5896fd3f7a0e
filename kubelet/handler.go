package kubelet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/keelson-dev/keelson/kubelet/logs"
	"github.com/keelson-dev/keelson/kubelet/streaming"
	kruntime "github.com/keelson-dev/keelson/runtime"
)

// newHandler routes what the API server asks of a node; the paths and parameters are those of every kubelet.
func newHandler(k *Kubelet) http.Handler {
	mux := http.NewServeMux()
	guarded := func(pattern string, h http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if k.config.Authorize != nil {
				if err := k.config.Authorize(r); err != nil {
					http.Error(w, err.Error(), http.StatusForbidden)
					return
				}
			}
			h(w, r)
		})
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	guarded("GET /pods", k.servePods)
	guarded("GET /stats/summary", k.serveStats)
	guarded("GET /containerLogs/{namespace}/{pod}/{container}", k.serveLogs)
	// Any method: a client that falls back from WebSocket to SPDY, which is a POST, shows the answer to that.
	guarded("/exec/{namespace}/{pod}/{container}", k.serveExec)
	guarded("/exec/{namespace}/{pod}/{uid}/{container}", k.serveExec)
	guarded("/attach/{namespace}/{pod}/{container}", k.serveAttach)
	guarded("/attach/{namespace}/{pod}/{uid}/{container}", k.serveAttach)
	guarded("/portForward/{namespace}/{pod}", k.servePorts)
	guarded("/portForward/{namespace}/{pod}/{uid}", k.servePorts)
	return mux
}

// found is a container that a request names.
type found struct {
	worker    *worker
	pod       *corev1.Pod
	container container
}

// find looks up the container of a request; previous asks for the instance before the newest.
func (k *Kubelet) find(r *http.Request, previous bool) (found, error) {
	name := types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("pod")}
	k.mu.Lock()
	w := k.workers[k.byName[name]]
	k.mu.Unlock()
	if w == nil {
		return found{}, fmt.Errorf("pod %s is not on node %s", name, k.config.NodeName)
	}
	pod, seen, st := w.snapshot()
	want := r.PathValue("container")
	if containerNamed(pod, want) == nil {
		return found{}, fmt.Errorf("pod %s has no container %q", name, want)
	}
	o := observed{containers: seen.containers}
	c := o.latest(want)
	if c != nil && previous {
		if c = o.before(c); c == nil {
			return found{}, unavailable(fmt.Sprintf("previous terminated container %q in pod %s not found", want, name))
		}
	}
	if c == nil {
		why := "ContainerCreating"
		if st != nil {
			if cs := statusOf(st, want); cs != nil && cs.State.Waiting != nil {
				why = cs.State.Waiting.Reason
			}
		}
		return found{}, unavailable(fmt.Sprintf("container %q in pod %s is waiting to start: %s", want, name, why))
	}
	return found{w, pod, *c}, nil
}

// unavailable says what a container that the pod has can't give now. Kubelets answer it with 400.
type unavailable string

func (u unavailable) Error() string { return string(u) }

// notFound answers a request whose container can't be had.
func notFound(w http.ResponseWriter, err error) {
	code := http.StatusNotFound
	if errors.As(err, new(unavailable)) {
		code = http.StatusBadRequest
	}
	http.Error(w, err.Error(), code)
}

// opener opens a container's log, which is only ever looked for below the agent's root.
func (k *Kubelet) opener(pod *corev1.Pod, c *container) func() (logs.File, error) {
	name := path.Join(logDir(pod), logFile(c.name, c.attempt))
	return func() (logs.File, error) {
		info, err := k.root.Lstat(name)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("log %s is a %v, not a file", name, info.Mode().Type())
		}
		return k.root.Open(name)
	}
}

func logOptions(r *http.Request, now time.Time) (o logs.Options, previous bool, err error) {
	q := r.URL.Query()
	number := func(name string) *int64 {
		v := q.Get(name)
		if v == "" || err != nil {
			return nil
		}
		n, e := strconv.ParseInt(v, 10, 64)
		if e != nil || n < 0 {
			err = fmt.Errorf("%s=%q: want a number of 0 or more", name, v)
		}
		return &n
	}
	flag := func(name string) bool {
		v := q.Get(name)
		if v == "" || err != nil {
			return false
		}
		b, e := strconv.ParseBool(v)
		if e != nil {
			err = fmt.Errorf("%s=%q: want true or false", name, v)
		}
		return b
	}
	o.Follow, o.Timestamps, previous = flag("follow"), flag("timestamps"), flag("previous")
	o.Tail, o.Limit = number("tailLines"), number("limitBytes")
	if s := number("sinceSeconds"); s != nil {
		o.Since = now.Add(-time.Duration(*s) * time.Second)
	}
	if v := q.Get("sinceTime"); v != "" && err == nil {
		if o.Since, err = time.Parse(time.RFC3339, v); err != nil {
			err = fmt.Errorf("sinceTime=%q: want a time such as 2026-01-02T15:04:05Z", v)
		}
	}
	switch v := q.Get("stream"); v {
	case "", "All":
	case "Stdout":
		o.Stream = "stdout"
	case "Stderr":
		o.Stream = "stderr"
	default:
		err = fmt.Errorf("stream=%q: want All, Stdout or Stderr", v)
	}
	return o, previous, err
}

func (k *Kubelet) serveLogs(w http.ResponseWriter, r *http.Request) {
	o, previous, err := logOptions(r, time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f, err := k.find(r, previous)
	if err != nil {
		notFound(w, err)
		return
	}
	id := f.container.id
	o.Ended = func() bool {
		_, seen, _ := f.worker.snapshot()
		i := slices.IndexFunc(seen.containers, func(c container) bool { return c.id == id })
		return i < 0 || seen.containers[i].state == stateExited || !k.active()
	}
	out := &flushed{w: w}
	err = logs.Copy(r.Context(), out, k.opener(f.pod, &f.container), o)
	switch {
	case err == nil:
		out.begin()
	case !out.begun && errors.Is(err, fs.ErrNotExist):
		http.Error(w, "the container has no log yet", http.StatusNotFound)
	case !out.begun && r.Context().Err() == nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (k *Kubelet) active() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.running
}

// flushed sends what is written at once.
type flushed struct {
	w     http.ResponseWriter
	begun bool
}

func (f *flushed) begin() {
	if !f.begun {
		f.begun = true
		f.w.Header().Set("Content-Type", "text/plain")
		f.w.WriteHeader(http.StatusOK)
	}
}

func (f *flushed) Write(p []byte) (int, error) {
	f.begin()
	n, err := f.w.Write(p)
	if err == nil {
		_ = http.NewResponseController(f.w).Flush()
	}
	return n, err
}

func (k *Kubelet) serveExec(w http.ResponseWriter, r *http.Request) {
	command := r.URL.Query()["command"]
	if len(command) == 0 {
		http.Error(w, "command is required, once per argument", http.StatusBadRequest)
		return
	}
	k.serveStreams(w, r, func(ctx context.Context, id string, s kruntime.Streams) error {
		if streamer, ok := k.runtime.(kruntime.Streamer); ok {
			return streamer.StreamExec(ctx, id, command, s)
		}
		// Without streams of its own the runtime runs the command to its end, without input.
		stdout, stderr, err := k.runtime.ExecSync(ctx, id, command, 0)
		if s.Stdout != nil {
			_, _ = s.Stdout.Write(stdout)
		}
		if s.Stderr != nil {
			_, _ = s.Stderr.Write(stderr)
		}
		return err
	})
}

func (k *Kubelet) serveAttach(w http.ResponseWriter, r *http.Request) {
	streamer, ok := k.runtime.(kruntime.Streamer)
	if !ok {
		http.Error(w, "the container runtime of this node carries no streams: attach is not available", http.StatusNotImplemented)
		return
	}
	k.serveStreams(w, r, streamer.StreamAttach)
}

func (k *Kubelet) serveStreams(w http.ResponseWriter, r *http.Request, run func(ctx context.Context, id string, s kruntime.Streams) error) {
	o, err := streaming.ParseOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f, err := k.find(r, false)
	if err != nil {
		notFound(w, err)
		return
	}
	if f.container.state != stateRunning {
		http.Error(w, fmt.Sprintf("container %q is not running", f.container.name), http.StatusConflict)
		return
	}
	if r.Method != http.MethodGet && !streaming.IsSPDY(r) {
		http.Error(w, "streams are carried over WebSocket, or over SPDY/3.1 with an Upgrade header", http.StatusBadRequest)
		return
	}
	streaming.Serve(w, r, o, func(ctx context.Context, s kruntime.Streams) error { return run(ctx, f.container.id, s) })
}

// servePorts forwards connections to ports of a pod. Which ports is said by each connection.
func (k *Kubelet) servePorts(w http.ResponseWriter, r *http.Request) {
	streamer, ok := k.runtime.(kruntime.Streamer)
	if !ok {
		http.Error(w, "the container runtime of this node carries no streams: port-forward is not available", http.StatusNotImplemented)
		return
	}
	name := types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("pod")}
	k.mu.Lock()
	worker := k.workers[k.byName[name]]
	k.mu.Unlock()
	if worker == nil {
		http.Error(w, fmt.Sprintf("pod %s is not on node %s", name, k.config.NodeName), http.StatusNotFound)
		return
	}
	_, seen, _ := worker.snapshot()
	o := observed{sandboxes: seen.sandboxes}
	sb := o.current()
	if sb == nil {
		http.Error(w, fmt.Sprintf("pod %s is not running", name), http.StatusConflict)
		return
	}
	id := sb.id
	streaming.ServePorts(w, r, func(ctx context.Context, port int32, stream io.ReadWriteCloser) error {
		err := streamer.StreamPortForward(ctx, id, port, stream)
		if s, ok := status.FromError(err); ok && err != nil {
			return errors.New(s.Message()) // users see it, to whom the code says nothing
		}
		return err
	})
}

func (k *Kubelet) servePods(w http.ResponseWriter, _ *http.Request) {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{}}
	for _, worker := range k.all() {
		pod, _, st := worker.snapshot()
		p := *pod.DeepCopy()
		if st != nil {
			mergeStatus(&p.Status, st)
		}
		list.Items = append(list.Items, p)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int {
		if a.Namespace+"/"+a.Name < b.Namespace+"/"+b.Name {
			return -1
		}
		return 1
	})
	writeJSON(w, list)
}

// summary is the part of the kubelet's stats API (stats/v1alpha1) that kubectl top's sources read.
type summary struct {
	Node nodeStats  `json:"node"`
	Pods []podStats `json:"pods"`
}

type nodeStats struct {
	NodeName string `json:"nodeName"`
}

type podStats struct {
	PodRef struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
		UID       string `json:"uid"`
	} `json:"podRef"`
	Containers []containerStats `json:"containers"`
}

type containerStats struct {
	Name   string      `json:"name"`
	CPU    cpuStats    `json:"cpu"`
	Memory memoryStats `json:"memory"`
}

type cpuStats struct {
	Time                 metav1.Time `json:"time"`
	UsageNanoCores       *uint64     `json:"usageNanoCores,omitempty"`
	UsageCoreNanoSeconds *uint64     `json:"usageCoreNanoSeconds,omitempty"`
}

type memoryStats struct {
	Time            metav1.Time `json:"time"`
	WorkingSetBytes *uint64     `json:"workingSetBytes,omitempty"`
}

func (k *Kubelet) serveStats(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), k.config.queryTimeout())
	defer cancel()
	list, err := k.runtime.ListContainerStats(ctx, nil)
	if err != nil && status.Code(err) != codes.Unimplemented {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	out := summary{Node: nodeStats{k.config.NodeName}, Pods: []podStats{}}
	value := func(v *runtimeapi.UInt64Value) *uint64 {
		if v == nil {
			return nil
		}
		return &v.Value
	}
	for _, s := range list {
		labels := s.GetAttributes().GetLabels()
		uid := labels[labelPodUID]
		if uid == "" {
			continue
		}
		i := slices.IndexFunc(out.Pods, func(p podStats) bool { return p.PodRef.UID == uid })
		if i < 0 {
			var p podStats
			p.PodRef.Name, p.PodRef.Namespace, p.PodRef.UID = labels[labelPodName], labels[labelPodNamespace], uid
			out.Pods = append(out.Pods, p)
			i = len(out.Pods) - 1
		}
		out.Pods[i].Containers = append(out.Pods[i].Containers, containerStats{
			Name: labels[labelContainerName],
			CPU: cpuStats{
				Time:           metav1.NewTime(time.Unix(0, s.GetCpu().GetTimestamp())),
				UsageNanoCores: value(s.GetCpu().GetUsageNanoCores()), UsageCoreNanoSeconds: value(s.GetCpu().GetUsageCoreNanoSeconds()),
			},
			Memory: memoryStats{
				Time: metav1.NewTime(time.Unix(0, s.GetMemory().GetTimestamp())), WorkingSetBytes: value(s.GetMemory().GetWorkingSetBytes()),
			},
		})
	}
	writeJSON(w, out)
}

func writeJSON(w http.ResponseWriter, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(data)
}
