package kubelet

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// fit tells whether the first of the pods can run beside the others within the node's capacity.
func fit(pods []*corev1.Pod, capacity corev1.ResourceList) *failure {
	if most := capacity[corev1.ResourcePods]; int64(len(pods)) > most.Value() {
		return &failure{"OutOfpods", fmt.Sprintf("Node didn't have enough resource: pods, requested: 1, used: %d, capacity: %d", len(pods)-1, most.Value())}
	}
	for name, asked := range requests(pods[0]) {
		if asked.IsZero() {
			continue
		}
		var used resource.Quantity
		for _, p := range pods[1:] {
			used.Add(requests(p)[name])
		}
		total := used.DeepCopy()
		total.Add(asked)
		if most := capacity[name]; total.Cmp(most) > 0 {
			return &failure{"OutOf" + string(name), fmt.Sprintf("Node didn't have enough resource: %s, requested: %s, used: %s, capacity: %s",
				name, asked.String(), used.String(), most.String())}
		}
	}
	return nil
}

// requests is what a pod asks for: its containers and sidecars together, or the largest init container if that is more.
func requests(pod *corev1.Pod) corev1.ResourceList {
	sum, most := corev1.ResourceList{}, corev1.ResourceList{}
	add := func(to corev1.ResourceList, from corev1.ResourceList) {
		for name, q := range from {
			total := to[name].DeepCopy()
			total.Add(q)
			to[name] = total
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if sidecar(c) {
			add(sum, c.Resources.Requests)
		}
		for name, q := range c.Resources.Requests {
			if have := most[name]; q.Cmp(have) > 0 {
				most[name] = q
			}
		}
	}
	for i := range pod.Spec.Containers {
		add(sum, pod.Spec.Containers[i].Resources.Requests)
	}
	for name, q := range most {
		if have := sum[name]; q.Cmp(have) > 0 {
			sum[name] = q
		}
	}
	add(sum, pod.Spec.Overhead)
	return sum
}
