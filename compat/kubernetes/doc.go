// Package kubernetes runs kube-apiserver's own tests of its storage against members of a store, as they are: those of
// k8s.io/apiserver/pkg/storage/etcd3, which is what talks to etcd, and of k8s.io/apiserver/pkg/storage/cacher, the watch
// cache on top of it. Where they start an etcd they get members, because this module replaces
// go.etcd.io/etcd/server/v3 by etcdserver.
package kubernetes
