// Package deployment rolls out Deployments: it keeps one ReplicaSet for each pod template that a Deployment has had,
// and moves replicas from the old ones to the present one.
//
//	err := deployment.New(manager, deployment.Config{})
//	err = deployment.Rollback(ctx, c, "shop", "web", 0) // back to the template before
//
// # How a rollout goes
//
// The present ReplicaSet is the one whose template equals the Deployment's (the pod-template-hash label apart); it is
// made when there is none. RollingUpdate adds to it as long as maxSurge allows, and takes from the old ones as long
// as maxUnavailable does: not-ready replicas first, since taking them costs nothing. Recreate waits until no old pod
// is left. A change of replicas in the middle of a rollout is shared out in proportion. All of that is one pure
// function, [plan], of the Deployment and its ReplicaSets; the reconciler carries out what it says.
//
// Pods of a set that was scaled down count until they are gone from its status, so that the surge is never passed,
// not for a moment either; pods that are being deleted don't count, as upstream.
//
// Revisions are numbers in the annotation deployment.kubernetes.io/revision, as kubectl rollout expects; old
// ReplicaSets beyond revisionHistoryLimit are deleted. A rollout without progress for progressDeadlineSeconds is
// reported in the Progressing condition and goes on. A paused Deployment is scaled but not rolled out.
package deployment
