package kubelet

import (
	"cmp"
	"context"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Labels and annotations of sandboxes and containers; the first four are those of every kubelet, and crictl shows them.
const (
	labelPodName       = "io.kubernetes.pod.name"
	labelPodNamespace  = "io.kubernetes.pod.namespace"
	labelPodUID        = "io.kubernetes.pod.uid"
	labelContainerName = "io.kubernetes.container.name"

	annotationHash    = "io.kubernetes.container.hash"
	annotationRestart = "io.kubernetes.container.restartCount"
	annotationGrace   = "io.kubernetes.pod.terminationGracePeriod"
)

// hashOf stands for what a container is created from and may change while the pod lives: its image.
func hashOf(c *corev1.Container) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(c.Name + "\x00" + c.Image))
	return strconv.FormatUint(uint64(h.Sum32()), 16)
}

// sight is what the runtime says about one pod. Ended containers don't change, so they are asked for once.
type sight struct {
	sandboxes  []sandbox
	containers []container
}

// look asks the runtime about one pod. old is the last answer.
func (k *Kubelet) look(ctx context.Context, uid string, old sight) (sight, error) {
	ctx, cancel := context.WithTimeout(ctx, k.config.queryTimeout())
	defer cancel()
	selector := map[string]string{labelPodUID: uid}
	sandboxes, err := k.runtime.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{LabelSelector: selector})
	if err != nil {
		return old, err
	}
	containers, err := k.runtime.ListContainers(ctx, &runtimeapi.ContainerFilter{LabelSelector: selector})
	if err != nil {
		return old, err
	}
	var out sight
	for _, s := range sandboxes {
		sb := sandbox{
			id: s.Id, attempt: s.GetMetadata().GetAttempt(),
			ready: s.State == runtimeapi.PodSandboxState_SANDBOX_READY, created: time.Unix(0, s.CreatedAt),
		}
		i := slices.IndexFunc(old.sandboxes, func(o sandbox) bool { return o.id == s.Id })
		switch {
		case i >= 0 && len(old.sandboxes[i].ips) > 0:
			sb.ips = old.sandboxes[i].ips
		case sb.ready:
			if sb.ips, err = k.addresses(ctx, s.Id); err != nil {
				return old, err
			}
		}
		out.sandboxes = append(out.sandboxes, sb)
	}
	slices.SortFunc(out.sandboxes, func(a, b sandbox) int {
		return cmp.Or(cmp.Compare(a.attempt, b.attempt), a.created.Compare(b.created), cmp.Compare(a.id, b.id))
	})
	for _, c := range containers {
		if i := slices.IndexFunc(old.containers, func(o container) bool { return o.id == c.Id }); i >= 0 &&
			old.containers[i].state == stateExited {
			out.containers = append(out.containers, old.containers[i])
			continue
		}
		resp, err := k.runtime.ContainerStatus(ctx, c.Id, false)
		if status.Code(err) == codes.NotFound {
			continue
		}
		if err != nil {
			return old, err
		}
		out.containers = append(out.containers, containerOf(c.PodSandboxId, resp.GetStatus()))
	}
	slices.SortFunc(out.containers, func(a, b container) int {
		return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.attempt, b.attempt), cmp.Compare(a.id, b.id))
	})
	return out, nil
}

func (k *Kubelet) addresses(ctx context.Context, sandboxID string) ([]string, error) {
	resp, err := k.runtime.PodSandboxStatus(ctx, sandboxID, false)
	if err != nil {
		return nil, err
	}
	network := resp.GetStatus().GetNetwork()
	if network.GetIp() == "" {
		return []string{k.config.Address}, nil // the host's network
	}
	ips := []string{network.GetIp()}
	for _, more := range network.GetAdditionalIps() {
		ips = append(ips, more.GetIp())
	}
	return ips, nil
}

func containerOf(sandboxID string, st *runtimeapi.ContainerStatus) container {
	c := container{
		id: st.GetId(), sandbox: sandboxID, name: st.GetLabels()[labelContainerName], attempt: st.GetMetadata().GetAttempt(),
		hash: st.GetAnnotations()[annotationHash], image: st.GetImage().GetImage(), imageID: cmp.Or(st.GetImageId(), st.GetImageRef()),
		created: time.Unix(0, st.GetCreatedAt()), exitCode: st.GetExitCode(), reason: st.GetReason(), message: st.GetMessage(),
		logPath: st.GetLogPath(),
	}
	if c.name == "" {
		c.name = st.GetMetadata().GetName()
	}
	if t := st.GetStartedAt(); t != 0 {
		c.started = time.Unix(0, t)
	}
	if t := st.GetFinishedAt(); t != 0 {
		c.finished = time.Unix(0, t)
	}
	switch st.GetState() {
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		c.state = stateCreated
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		c.state = stateRunning
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		c.state = stateExited
	default:
		c.state = stateUnknown
	}
	return c
}
