// Package compat holds no code: the packages below it run etcd's own clients, and kube-apiserver's own storage tests,
// against members of package store that package etcdapi serves. They are a module of their own, so that none of what
// they need enters a user's go.mod.
//
//	go -C compat test ./...
//
// Package client has go.etcd.io/etcd/client/v3 and its helper packages, package etcdctl the command of that name, and
// package kubernetes runs the tests of k8s.io/apiserver/pkg/storage/etcd3 and its watch cache, unchanged. Package
// member starts what they talk to.
package compat
