// Package kubectl holds no code: its tests run kubectl 1.37, built from its module, against a whole cluster of one
// control plane and two nodes, as a user would: a script of commands, each with what it must print.
package kubectl
