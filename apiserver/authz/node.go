package authz

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

const nodeUserPrefix = "system:node:"

// Nodes lets an agent, the user system:node:NAME of the group system:nodes, change only what belongs to its node, whatever next
// would allow: its Node, its Lease, and the pods that run on it. So a machine that was broken into can take over no other,
// and no leader's Lease. Everything else is for next to decide. It corresponds to a part of upstream's NodeRestriction; what an
// agent reads, and the name of a Node or Lease that it creates, are not restricted.
func Nodes(next Authorizer, c client.Client) Authorizer {
	return Func(func(ctx context.Context, a Attributes) (Decision, error) {
		node, ok := strings.CutPrefix(a.User.Name, nodeUserPrefix)
		if !ok || !a.User.In(authn.GroupNodes) || a.User.In(authn.GroupMasters) || a.Path != "" {
			return next.Authorize(ctx, a)
		}
		switch a.Verb {
		case "get", "list", "watch":
			return next.Authorize(ctx, a)
		}
		owner, err := ownerOf(ctx, c, node, a)
		if err != nil {
			return Decision{}, err
		}
		if owner != node {
			return Decision{Reason: fmt.Sprintf("node %s may change only what belongs to it", node)}, nil
		}
		return next.Authorize(ctx, a)
	})
}

// ownerOf is the node that what a request changes belongs to; what belongs to none in particular is the asking node's.
func ownerOf(ctx context.Context, c client.Client, asking string, a Attributes) (string, error) {
	switch {
	case a.Group == "" && a.Resource == "nodes" && a.Name != "":
		return a.Name, nil
	case a.Group == "coordination.k8s.io" && a.Resource == "leases":
		if a.Namespace != corev1.NamespaceNodeLease {
			return "", nil
		}
		if a.Name != "" {
			return a.Name, nil
		}
	case a.Group == "" && a.Resource == "pods" && a.Name != "":
		pod, err := client.For(c, kind.Pod).Get(ctx, a.Namespace, a.Name, cached)
		if apierrors.IsNotFound(err) {
			return asking, nil // and the request will find none either
		}
		if err != nil {
			return "", err
		}
		return pod.Spec.NodeName, nil
	}
	return asking, nil
}
