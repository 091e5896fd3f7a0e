// Package plugins holds the scheduler's default stages, one plugin a file. [Default] gives all of them in a sensible
// order; an application takes what it wants and adds its own.
//
// Each plugin reads a unit's needs from a pod and a target's offer from a node, as package scheduler hands them over,
// so that all of them work for own kinds too. Their reasons are the texts that Kubernetes' users know from a pod's
// PodScheduled condition. Plugins hold no state and are safe for concurrent use.
package plugins
