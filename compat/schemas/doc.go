// Command schemas makes the data files of apiserver/openapi: the schemas of Kubernetes' built-in types, as
// kube-apiserver serves them in OpenAPI v3.
//
//	go generate ./apiserver/openapi
//
// List types, map keys, enums, defaults and unions stand only in the comments of k8s.io/api, so its sources are read
// with openapi-gen, the generator of Kubernetes itself. What openapi-gen writes is Go code; it is compiled into a
// second program, which prints it as JSON. That goes into one compressed file per Go package, whose schemas are used
// together.
//
// It is a module of its own: neither the generator nor the modules that it reads are needed by users of Keelson.
// The versions in go.mod decide what is described; keep them equal to those of the main module.
package main
