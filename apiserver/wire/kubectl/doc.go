// Package kubectl holds a test and nothing else: the real kubectl against a control plane, for what no test of single
// requests can show. It is skipped where kubectl is not installed.
package kubectl
