// Package controllerruntime holds no code: its tests run controllers made with controller-runtime, and its envtest
// helpers, against a cluster.
package controllerruntime
