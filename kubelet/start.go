package kubelet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// stepError is why a step failed, in the words that a container's waiting state and an event use.
type stepError struct {
	reason string
	err    error
}

func (e *stepError) Error() string { return e.reason + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// Reasons of waiting containers, as upstream's.
const (
	reasonConfig       = "CreateContainerConfigError"
	reasonCreate       = "CreateContainerError"
	reasonRun          = "RunContainerError"
	reasonPull         = "ErrImagePull"
	reasonPullBackOff  = "ImagePullBackOff"
	reasonNeverPull    = "ErrImageNeverPull"
	reasonPostStart    = "PostStartHookError"
	cpuPeriodMicro     = 100000
	minimumShares      = 2
	sharesPerProcessor = 1024
)

func logDir(pod *corev1.Pod) string {
	return path.Join("logs", pod.Namespace+"_"+pod.Name+"_"+string(pod.UID))
}

func logFile(container string, attempt uint32) string {
	return path.Join(container, strconv.Itoa(int(attempt))+".log")
}

// sandboxConfig is a pod as CRI sees it.
func (k *Kubelet) sandboxConfig(pod *corev1.Pod, attempt uint32) *runtimeapi.PodSandboxConfig {
	hostname := pod.Spec.Hostname
	if hostname == "" {
		hostname = pod.Name
	}
	if len(hostname) > 63 {
		hostname = strings.TrimRight(hostname[:63], "-.")
	}
	labels := map[string]string{}
	for name, value := range pod.Labels {
		labels[name] = value
	}
	labels[labelPodName], labels[labelPodNamespace], labels[labelPodUID] = pod.Name, pod.Namespace, string(pod.UID)
	config := &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID), Attempt: attempt},
		Hostname:     hostname,
		LogDirectory: filepath.Join(k.config.Root, filepath.FromSlash(logDir(pod))),
		DnsConfig:    k.dns(pod),
		Labels:       labels,
		Annotations:  map[string]string{annotationGrace: strconv.Itoa(int(grace(pod) / time.Second))},
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: namespaces(pod)},
		},
	}
	for name, value := range pod.Annotations {
		config.Annotations[name] = value
	}
	if sc := pod.Spec.SecurityContext; sc != nil {
		config.Linux.SecurityContext.RunAsUser = int64Value(sc.RunAsUser)
		config.Linux.SecurityContext.RunAsGroup = int64Value(sc.RunAsGroup)
		config.Linux.SecurityContext.SupplementalGroups = sc.SupplementalGroups
	}
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.HostPort == 0 && !pod.Spec.HostNetwork {
				continue
			}
			config.PortMappings = append(config.PortMappings, &runtimeapi.PortMapping{
				Protocol:      runtimeapi.Protocol(runtimeapi.Protocol_value[string(p.Protocol)]),
				ContainerPort: p.ContainerPort, HostPort: p.HostPort, HostIp: p.HostIP,
			})
		}
	}
	return config
}

func int64Value(v *int64) *runtimeapi.Int64Value {
	if v == nil {
		return nil
	}
	return &runtimeapi.Int64Value{Value: *v}
}

func namespaces(pod *corev1.Pod) *runtimeapi.NamespaceOption {
	n := &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}
	if pod.Spec.HostNetwork {
		n.Network = runtimeapi.NamespaceMode_NODE
	}
	if pod.Spec.HostIPC {
		n.Ipc = runtimeapi.NamespaceMode_NODE
	}
	switch {
	case pod.Spec.HostPID:
		n.Pid = runtimeapi.NamespaceMode_NODE
	case optional(pod.Spec.ShareProcessNamespace):
		n.Pid = runtimeapi.NamespaceMode_POD
	}
	return n
}

// dns is the resolver configuration of a pod; nil leaves the node's own.
func (k *Kubelet) dns(pod *corev1.Pod) *runtimeapi.DNSConfig {
	out := &runtimeapi.DNSConfig{}
	policy := pod.Spec.DNSPolicy
	if policy == "" {
		policy = corev1.DNSClusterFirst
	}
	if policy == corev1.DNSClusterFirst && !pod.Spec.HostNetwork || policy == corev1.DNSClusterFirstWithHostNet {
		for _, a := range k.config.ClusterDNS {
			out.Servers = append(out.Servers, a.String())
		}
		if len(out.Servers) > 0 {
			d := k.config.ClusterDomain
			out.Searches = []string{pod.Namespace + ".svc." + d, "svc." + d, d}
			out.Options = []string{"ndots:5"}
		}
	}
	if more := pod.Spec.DNSConfig; more != nil {
		out.Servers = append(out.Servers, more.Nameservers...)
		out.Searches = append(out.Searches, more.Searches...)
		for _, o := range more.Options {
			if o.Value != nil {
				out.Options = append(out.Options, o.Name+":"+*o.Value)
			} else {
				out.Options = append(out.Options, o.Name)
			}
		}
	}
	if len(out.Servers)+len(out.Searches)+len(out.Options) == 0 {
		return nil
	}
	return out
}

// containerConfig is a container as CRI sees it: environment, mounts and all.
func (k *Kubelet) containerConfig(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, attempt uint32, image string) (*runtimeapi.ContainerConfig, error) {
	in := envInput{pod: pod, container: spec, objects: k.lookup(ctx, pod), node: k.capacity}
	services, err := k.servicesOf(ctx, pod)
	if err != nil {
		return nil, &stepError{reasonConfig, err}
	}
	in.services = services
	env, err := in.render()
	if err != nil {
		return nil, &stepError{reasonConfig, err}
	}
	values := make(map[string]string, len(env))
	config := &runtimeapi.ContainerConfig{
		Metadata:   &runtimeapi.ContainerMetadata{Name: spec.Name, Attempt: attempt},
		Image:      &runtimeapi.ImageSpec{Image: image, UserSpecifiedImage: spec.Image},
		WorkingDir: spec.WorkingDir,
		LogPath:    filepath.FromSlash(logFile(spec.Name, attempt)),
		Stdin:      spec.Stdin, StdinOnce: spec.StdinOnce, Tty: spec.TTY,
		Labels: map[string]string{
			labelPodName: pod.Name, labelPodNamespace: pod.Namespace, labelPodUID: string(pod.UID), labelContainerName: spec.Name,
		},
		Annotations: map[string]string{
			annotationHash: hashOf(spec), annotationRestart: strconv.Itoa(int(attempt)),
			annotationGrace: strconv.Itoa(int(grace(pod) / time.Second)),
		},
		Linux: linuxConfig(pod, spec, k.capacity),
	}
	for _, e := range env {
		values[e.name] = e.value
		config.Envs = append(config.Envs, &runtimeapi.KeyValue{Key: e.name, Value: []byte(e.value)})
	}
	find := func(name string) (string, bool) { v, ok := values[name]; return v, ok }
	for _, c := range spec.Command {
		config.Command = append(config.Command, expand(c, find))
	}
	for _, a := range spec.Args {
		config.Args = append(config.Args, expand(a, find))
	}
	for i := range spec.VolumeMounts {
		m := &spec.VolumeMounts[i]
		host, err := k.volumes.hostOf(pod, m, find)
		if err != nil {
			return nil, &stepError{reasonConfig, err}
		}
		mount := &runtimeapi.Mount{ContainerPath: m.MountPath, HostPath: host, Readonly: m.ReadOnly}
		if m.MountPropagation != nil {
			switch *m.MountPropagation {
			case corev1.MountPropagationHostToContainer:
				mount.Propagation = runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
			case corev1.MountPropagationBidirectional:
				mount.Propagation = runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
			}
		}
		config.Mounts = append(config.Mounts, mount)
	}
	return config, nil
}

func linuxConfig(pod *corev1.Pod, spec *corev1.Container, node corev1.ResourceList) *runtimeapi.LinuxContainerConfig {
	resources := &runtimeapi.LinuxContainerResources{CpuShares: minimumShares}
	if cpu, ok := spec.Resources.Requests[corev1.ResourceCPU]; ok {
		resources.CpuShares = max(cpu.MilliValue()*sharesPerProcessor/1000, minimumShares)
	}
	if cpu, ok := spec.Resources.Limits[corev1.ResourceCPU]; ok && !cpu.IsZero() {
		resources.CpuPeriod = cpuPeriodMicro
		resources.CpuQuota = max(cpu.MilliValue()*cpuPeriodMicro/1000, 1000)
	}
	if memory, ok := spec.Resources.Limits[corev1.ResourceMemory]; ok {
		resources.MemoryLimitInBytes = memory.Value()
	}
	resources.OomScoreAdj = oomScore(spec, node)
	sc := &runtimeapi.LinuxContainerSecurityContext{NamespaceOptions: namespaces(pod)}
	if p := pod.Spec.SecurityContext; p != nil {
		sc.RunAsUser, sc.RunAsGroup = int64Value(p.RunAsUser), int64Value(p.RunAsGroup)
		sc.SupplementalGroups = p.SupplementalGroups
		if p.FSGroup != nil {
			sc.SupplementalGroups = append(append([]int64(nil), sc.SupplementalGroups...), *p.FSGroup)
		}
	}
	if c := spec.SecurityContext; c != nil {
		if c.RunAsUser != nil {
			sc.RunAsUser = int64Value(c.RunAsUser)
		}
		if c.RunAsGroup != nil {
			sc.RunAsGroup = int64Value(c.RunAsGroup)
		}
		sc.Privileged = optional(c.Privileged)
		sc.ReadonlyRootfs = optional(c.ReadOnlyRootFilesystem)
		sc.NoNewPrivs = c.AllowPrivilegeEscalation != nil && !*c.AllowPrivilegeEscalation
		if c.Capabilities != nil {
			sc.Capabilities = &runtimeapi.Capability{}
			for _, name := range c.Capabilities.Add {
				sc.Capabilities.AddCapabilities = append(sc.Capabilities.AddCapabilities, string(name))
			}
			for _, name := range c.Capabilities.Drop {
				sc.Capabilities.DropCapabilities = append(sc.Capabilities.DropCapabilities, string(name))
			}
		}
	}
	return &runtimeapi.LinuxContainerConfig{Resources: resources, SecurityContext: sc}
}

// oomScore is how readily the kernel ends a container when memory runs out: 1000 for one that asked for none, down to 3
// for one that asked for the whole machine.
func oomScore(spec *corev1.Container, node corev1.ResourceList) int64 {
	request, total := spec.Resources.Requests[corev1.ResourceMemory], node[corev1.ResourceMemory]
	if request.IsZero() || total.IsZero() {
		return 1000
	}
	return int64(math.Min(999, math.Max(3, 1000-float64(request.Value())*1000/float64(total.Value()))))
}

// image makes sure that a container's image is there and gives the name to create it from.
func (k *Kubelet) image(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, sandbox *runtimeapi.PodSandboxConfig) (string, error) {
	policy := spec.ImagePullPolicy
	if policy == "" {
		policy = corev1.PullIfNotPresent
	}
	ref := &runtimeapi.ImageSpec{Image: spec.Image, UserSpecifiedImage: spec.Image}
	if policy != corev1.PullAlways {
		query, cancel := context.WithTimeout(ctx, k.config.queryTimeout())
		resp, err := k.runtime.ImageStatus(query, ref, false)
		cancel()
		if err != nil {
			return "", &stepError{reasonPull, fmt.Errorf("image %q: %w", spec.Image, err)}
		}
		if resp.GetImage() != nil {
			return spec.Image, nil
		}
		if policy == corev1.PullNever {
			return "", &stepError{reasonNeverPull, fmt.Errorf("image %q is not on the node and its pull policy is Never", spec.Image)}
		}
	}
	pull, cancel := context.WithTimeout(ctx, k.config.PullTimeout)
	defer cancel()
	k.event(pod, corev1.EventTypeNormal, "Pulling", "Pulling image %q", spec.Image)
	began := time.Now()
	if _, err := k.runtime.PullImage(pull, ref, nil, sandbox); err != nil {
		return "", &stepError{reasonPull, fmt.Errorf("pull image %q: %w", spec.Image, err)}
	}
	k.event(pod, corev1.EventTypeNormal, "Pulled", "Successfully pulled image %q in %v", spec.Image, time.Since(began).Round(time.Millisecond))
	return spec.Image, nil
}

// start pulls, creates and starts one container, and runs its postStart hook.
func (k *Kubelet) start(ctx context.Context, pod *corev1.Pod, a *action, sandboxAttempt uint32, host string) error {
	spec := a.container
	sandboxConfig := k.sandboxConfig(pod, sandboxAttempt)
	image, err := k.image(ctx, pod, spec, sandboxConfig)
	if err != nil {
		return err
	}
	config, err := k.containerConfig(ctx, pod, spec, a.attempt, image)
	if err != nil {
		return err
	}
	if err := k.root.MkdirAll(path.Join(logDir(pod), spec.Name), 0o755); err != nil {
		return &stepError{reasonCreate, err}
	}
	bounded, cancel := context.WithTimeout(ctx, k.config.RuntimeTimeout)
	defer cancel()
	id, err := k.runtime.CreateContainer(bounded, a.sandbox, config, sandboxConfig)
	if err != nil {
		return &stepError{reasonCreate, err}
	}
	k.event(pod, corev1.EventTypeNormal, "Created", "Created container: %s", spec.Name)
	if err := k.runtime.StartContainer(bounded, id); err != nil {
		return &stepError{reasonRun, err}
	}
	k.event(pod, corev1.EventTypeNormal, "Started", "Started container %s", spec.Name)
	if spec.Lifecycle == nil || spec.Lifecycle.PostStart == nil {
		return nil
	}
	if err := k.hook(ctx, spec, id, host, spec.Lifecycle.PostStart); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		k.event(pod, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook of container %s failed: %v", spec.Name, err)
		g := grace(pod)
		kill, cancel := context.WithTimeout(ctx, g+k.config.RuntimeTimeout)
		defer cancel()
		return errors.Join(&stepError{reasonPostStart, err}, k.runtime.StopContainer(kill, id, int64(g/time.Second)))
	}
	return nil
}
