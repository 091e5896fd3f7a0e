// Package disruption keeps the status of PodDisruptionBudgets: how many pods a budget is about, how many of them are
// healthy, and how many may be evicted now. The API server refuses an eviction that the status does not allow.
//
//	err := disruption.New(manager, disruption.Config{})
//
// A pod counts as healthy when it is ready and not being deleted. An eviction that the API server has let through is
// counted at once, until the pod is seen to go; one of which nothing came is forgotten after Config.EvictionTimeout.
//
// A budget with a number for minAvailable is about the pods that it selects. One with a percentage, or with
// maxUnavailable, is about as many as the owners of these pods ask for: Deployments, ReplicaSets, StatefulSets and
// ReplicationControllers. Selected pods without such an owner don't count then, and an event on the budget says so.
package disruption
