package runtime

import (
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// MatchSandbox reports whether CRI's filter selects sandbox. A nil filter selects everything; an id may be shortened to
// a prefix, as crictl does; labels must all be equal.
func MatchSandbox(filter *runtimeapi.PodSandboxFilter, sandbox *runtimeapi.PodSandbox) bool {
	if filter == nil {
		return true
	}
	if !strings.HasPrefix(sandbox.GetId(), filter.GetId()) {
		return false
	}
	if filter.GetState() != nil && filter.GetState().GetState() != sandbox.GetState() {
		return false
	}
	return matchLabels(filter.GetLabelSelector(), sandbox.GetLabels())
}

// MatchContainer reports whether CRI's filter selects container, by the rules of MatchSandbox.
func MatchContainer(filter *runtimeapi.ContainerFilter, container *runtimeapi.Container) bool {
	if filter == nil {
		return true
	}
	if !strings.HasPrefix(container.GetId(), filter.GetId()) ||
		!strings.HasPrefix(container.GetPodSandboxId(), filter.GetPodSandboxId()) {
		return false
	}
	if filter.GetState() != nil && filter.GetState().GetState() != container.GetState() {
		return false
	}
	return matchLabels(filter.GetLabelSelector(), container.GetLabels())
}

func matchLabels(selector, labels map[string]string) bool {
	for key, want := range selector {
		if got, ok := labels[key]; !ok || got != want {
			return false
		}
	}
	return true
}
