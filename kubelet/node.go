package kubelet

import (
	"context"
	"fmt"
	"maps"
	"os"
	goruntime "runtime"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// capacityOf is what the node offers: as configured, or what the machine has.
func capacityOf(c *Config) (corev1.ResourceList, error) {
	out := maps.Clone(c.Capacity)
	if out == nil {
		out = corev1.ResourceList{corev1.ResourceCPU: *resource.NewQuantity(int64(goruntime.NumCPU()), resource.DecimalSI)}
		memory, err := machineMemory()
		if err != nil {
			return nil, fmt.Errorf("kubelet: Config.Capacity is nil and the machine's memory can't be read: %w", err)
		}
		out[corev1.ResourceMemory] = *resource.NewQuantity(memory, resource.BinarySI)
	}
	if _, ok := out[corev1.ResourcePods]; !ok {
		out[corev1.ResourcePods] = *resource.NewQuantity(int64(c.MaxPods), resource.DecimalSI)
	}
	for name, q := range out {
		if q.Sign() < 0 {
			return nil, fmt.Errorf("kubelet: Config.Capacity[%s] is %s: want zero or more", name, q.String())
		}
	}
	return out, nil
}

// prefix is what container ids begin with in the API, such as containerd://.
func (k *Kubelet) prefix() string {
	if p := k.idPrefix.Load(); p != nil {
		return *p
	}
	return "runtime://"
}

func (k *Kubelet) labels() map[string]string {
	out := map[string]string{
		corev1.LabelHostname: k.config.NodeName, corev1.LabelOSStable: goruntime.GOOS, corev1.LabelArchStable: goruntime.GOARCH,
	}
	maps.Copy(out, k.config.Labels)
	return out
}

// registerNode creates the Node, or corrects its labels, and keeps its status current.
func (k *Kubelet) registerNode(ctx context.Context) {
	var written *corev1.NodeStatus
	var at time.Time
	ready, registered := false, false
	delay := 200 * time.Millisecond
	for ctx.Err() == nil {
		wait := min(k.config.HeartbeatEvery, k.config.StatusInterval)
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, apiTimeout+k.config.queryTimeout())
			defer cancel()
			status := k.nodeStatus(ctx)
			if !registered {
				if err := k.ensureNode(ctx, status); err != nil {
					return err
				}
				registered = true
			}
			if written != nil && equality.Semantic.DeepEqual(written, status) && time.Since(at) < k.config.StatusInterval {
				if told, err := k.stillTold(ctx, status); told || err != nil && !apierrors.IsNotFound(err) {
					return err
				}
			}
			node, err := k.writeNode(ctx, status)
			if apierrors.IsNotFound(err) {
				registered = false
			}
			if err != nil {
				return err
			}
			written, at = status, time.Now()
			if now := conditionOf(status) == corev1.ConditionTrue; now != ready {
				ready = now
				reason := map[bool]string{true: "NodeReady", false: "NodeNotReady"}[ready]
				k.recorder.Event(node, corev1.EventTypeNormal, reason, "Node %s status is now: %s", node.Name, reason)
			}
			return nil
		}()
		if err != nil && ctx.Err() == nil {
			k.logger.Warn("write node status", zap.Error(err))
			wait, delay = delay, min(2*delay, 10*time.Second)
		} else {
			delay = 200 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// stillTold says whether the server's conditions are what the agent last wrote. While the agent was cut off, the control
// plane has declared them unknown, and only the agent can take that back.
func (k *Kubelet) stillTold(ctx context.Context, status *corev1.NodeStatus) (bool, error) {
	node, err := client.For(k.client, kind.Node).Get(ctx, "", k.config.NodeName)
	if err != nil {
		return false, err
	}
	for _, mine := range status.Conditions {
		if !slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == mine.Type && c.Status == mine.Status }) {
			return false, nil
		}
	}
	return true, nil
}

func conditionOf(st *corev1.NodeStatus) corev1.ConditionStatus {
	for _, c := range st.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}

func (k *Kubelet) ensureNode(ctx context.Context, status *corev1.NodeStatus) error {
	nodes := client.For(k.client, kind.Node)
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: k.config.NodeName, Labels: k.labels()},
		Spec:       corev1.NodeSpec{Taints: slices.Clone(k.config.Taints)},
	}
	node.Status = *status.DeepCopy()
	stamp(&node.Status, nil, time.Now())
	_, err := nodes.Create(ctx, node)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	_, err = nodes.Mutate(ctx, "", k.config.NodeName, func(n *corev1.Node) error {
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		maps.Copy(n.Labels, k.labels())
		return nil
	})
	return err
}

func (k *Kubelet) writeNode(ctx context.Context, status *corev1.NodeStatus) (*corev1.Node, error) {
	return client.For(k.client, kind.Node).MutateStatus(ctx, "", k.config.NodeName, func(n *corev1.Node) error {
		old := n.Status
		n.Status = *status.DeepCopy()
		n.Status.VolumesAttached, n.Status.VolumesInUse = old.VolumesAttached, old.VolumesInUse
		for _, c := range old.Conditions {
			if !slices.ContainsFunc(n.Status.Conditions, func(o corev1.NodeCondition) bool { return o.Type == c.Type }) {
				n.Status.Conditions = append(n.Status.Conditions, c)
			}
		}
		stamp(&n.Status, &old, time.Now())
		return nil
	})
}

// stamp sets the times of the agent's conditions.
func stamp(st, old *corev1.NodeStatus, now time.Time) {
	for i := range st.Conditions {
		c := &st.Conditions[i]
		if !slices.Contains([]corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure}, c.Type) {
			continue
		}
		c.LastHeartbeatTime = metav1.NewTime(now.Truncate(time.Second))
		c.LastTransitionTime = c.LastHeartbeatTime
		if old == nil {
			continue
		}
		for _, o := range old.Conditions {
			if o.Type == c.Type && o.Status == c.Status {
				c.LastTransitionTime = o.LastTransitionTime
			}
		}
	}
}

// nodeStatus is the Node's status without times.
func (k *Kubelet) nodeStatus(ctx context.Context) *corev1.NodeStatus {
	st := &corev1.NodeStatus{
		Capacity: k.capacity, Allocatable: k.capacity,
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: k.config.Address}, {Type: corev1.NodeHostName, Address: k.config.NodeName},
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: k.config.Port}},
		NodeInfo: corev1.NodeSystemInfo{
			OperatingSystem: goruntime.GOOS, Architecture: goruntime.GOARCH, KubeletVersion: "v1.37.0+keelson",
			MachineID: k.config.NodeName, SystemUUID: k.config.NodeName, BootID: bootID(),
		},
	}
	st.NodeInfo.OSImage, st.NodeInfo.KernelVersion = machineSystem()
	query, cancel := context.WithTimeout(ctx, k.config.queryTimeout())
	defer cancel()
	ready, reason, message := corev1.ConditionTrue, "KubeletReady", "the node agent is posting ready status"
	if v, err := k.runtime.Version(query, "v1"); err != nil {
		ready, reason, message = corev1.ConditionFalse, "KubeletNotReady", "container runtime: "+err.Error()
	} else {
		st.NodeInfo.ContainerRuntimeVersion = v.GetRuntimeName() + "://" + v.GetRuntimeVersion()
		p := v.GetRuntimeName() + "://"
		k.idPrefix.Store(&p)
		if r, err := k.runtime.Status(query, false); err != nil {
			ready, reason, message = corev1.ConditionFalse, "KubeletNotReady", "container runtime: "+err.Error()
		} else {
			for _, c := range r.GetStatus().GetConditions() {
				if !c.GetStatus() {
					ready, reason = corev1.ConditionFalse, "KubeletNotReady"
					message = fmt.Sprintf("container runtime: %s is false: %s %s", c.GetType(), c.GetReason(), c.GetMessage())
				}
			}
		}
	}
	no := func(kind corev1.NodeConditionType, reason, what string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: "the node has sufficient " + what}
	}
	st.Conditions = []corev1.NodeCondition{
		no(corev1.NodeMemoryPressure, "KubeletHasSufficientMemory", "memory"),
		no(corev1.NodeDiskPressure, "KubeletHasNoDiskPressure", "disk"),
		no(corev1.NodePIDPressure, "KubeletHasSufficientPID", "process ids"),
		{Type: corev1.NodeReady, Status: ready, Reason: reason, Message: message},
	}
	return st
}

// leaseNamespace is where nodes have their heartbeats. Somebody else makes it; until then renewing fails and is tried again.
const leaseNamespace = "kube-node-lease"

// heartbeat renews the node's Lease.
func (k *Kubelet) heartbeat(ctx context.Context) {
	delay := 200 * time.Millisecond
	for ctx.Err() == nil {
		wait := k.config.HeartbeatEvery
		if err := k.renew(ctx); err != nil && ctx.Err() == nil {
			k.logger.Info("renew node lease", zap.Error(err))
			wait, delay = delay, min(2*delay, k.config.HeartbeatEvery)
		} else {
			delay = 200 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (k *Kubelet) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	leases := client.For(k.client, kind.Lease)
	now := metav1.NewMicroTime(time.Now())
	seconds := int32(max(4*k.config.HeartbeatEvery/time.Second, 1))
	holder := k.config.NodeName
	_, err := leases.Mutate(ctx, leaseNamespace, holder, func(l *coordinationv1.Lease) error {
		l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &holder, &seconds, &now
		return nil
	})
	if !apierrors.IsNotFound(err) {
		return err
	}
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: leaseNamespace, Name: holder},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now},
	}
	if node, err := client.For(k.client, kind.Node).Get(ctx, "", holder); err == nil {
		lease.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: holder, UID: node.UID}}
	}
	_, err = leases.Create(ctx, lease)
	return err
}

// bootID tells one life of the agent's process from another: the embedded runtime's pods live and die by it.
func bootID() string { return strconv.Itoa(os.Getpid()) }
