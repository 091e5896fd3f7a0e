package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// nothingRuns waits until no node's runtime holds a sandbox of the namespace.
func (d *demo) nothingRuns(ctx context.Context) error {
	return poll(ctx, func() (bool, error) {
		for _, m := range d.nodes {
			list, err := m.node.Runtime().ListPodSandbox(ctx, nil)
			if err != nil {
				return false, err
			}
			if slices.ContainsFunc(list, func(s *runtimeapi.PodSandbox) bool { return s.Metadata.GetNamespace() == ns }) {
				return false, nil
			}
		}
		return true, nil
	})
}

// pid is the process of a pod's only container, as the node's runtime knows it.
func (d *demo) pid(ctx context.Context, p *corev1.Pod) (int, error) {
	m, ok := d.nodes[p.Spec.NodeName]
	if !ok {
		return 0, fmt.Errorf("pod %s is on node %q, which does not run", p.Name, p.Spec.NodeName)
	}
	rt := m.node.Runtime()
	running, err := rt.ListContainers(ctx, &runtimeapi.ContainerFilter{
		State:         &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
		LabelSelector: map[string]string{"io.kubernetes.pod.uid": string(p.UID)},
	})
	if err != nil {
		return 0, err
	}
	if len(running) != 1 {
		return 0, fmt.Errorf("pod %s has %d running containers, want 1", p.Name, len(running))
	}
	status, err := rt.ContainerStatus(ctx, running[0].Id, true)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(status.Info["pid"])
}
