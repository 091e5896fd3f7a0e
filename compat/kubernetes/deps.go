//go:build never

package kubernetes

// What is run keeps its requirements in go.mod by this file, which is never built.
import (
	_ "k8s.io/apiserver/pkg/storage/cacher"
	_ "k8s.io/apiserver/pkg/storage/etcd3"
	_ "k8s.io/apiserver/pkg/storage/etcd3/testserver"
)
