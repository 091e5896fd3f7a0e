// Package nodelifecycle notices nodes that went silent, keeps the taints that say what is wrong with a node, and
// evicts pods that don't tolerate a NoExecute taint.
//
//	err := nodelifecycle.New(manager, nodelifecycle.Config{})
//
// # Silence
//
// A node lives as long as its Lease in kube-node-lease is renewed or its conditions carry new heartbeat times. What
// counts is when this process saw the change, by its own clock; times that others wrote are only compared for being
// different. A node that has been silent for Config.GracePeriod gets the status Unknown for its conditions, and its
// pods the condition Ready=False. Before that the server is asked once more, so that a watch that hangs does not turn
// nodes Unknown. Whoever starts to watch gives each node a whole period. The node's agent sets the conditions again
// when it is back.
//
// # Taints
//
// Ready=False gives node.kubernetes.io/not-ready, Unknown node.kubernetes.io/unreachable: NoSchedule, and NoExecute
// with the time. A node that has not said yet that it is ready has not-ready:NoSchedule. Pressure conditions,
// NetworkUnavailable and spec.unschedulable have their own taints. These are this controller's; all others stay as
// they are, except that a NoExecute taint without a time is given one.
//
// # Eviction
//
// A pod that does not tolerate a NoExecute taint of its node is deleted at once; one that tolerates it for some
// seconds, that long after the taint (or the pod, if it is younger) came; the earliest counts. Nothing is kept in
// memory for it: a restart continues from the taint's time. If the taint goes before, the pod stays. Deletions have
// the pod's grace period and share one rate limit.
//
// # What it does not do
//
// It knows no zones: how many nodes are silent at once does not slow it down.
package nodelifecycle
