// Package openapi describes kinds in OpenAPI, as kube-apiserver does: one v3 document for each group and version, the v2 document
// about everything, and the schemas that structural merges need.
//
//	docs := openapi.New(kinds, "v1.37.2")
//	data, err := docs.V3("apis/apps/v1").Gzip(openapi.Protobuf)
//	schemas := openapi.Schemas(kinds) // for structural merges, such as server-side apply
//
// The schemas of Kubernetes' own types are data, in the folder schemas: compat/schemas makes them from the comments of k8s.io/api,
// with Kubernetes' own generator, so that list types, map keys, enums, defaults and texts are those that kube-apiserver serves.
// Nothing of it is read before it is needed.
//
// Types of an application are described by reflection: names and optionality of fields from JSON tags, texts from SwaggerDoc
// methods where there are any, merge strategies from patch tags. Where they are made of Kubernetes' types, such as a
// PodTemplateSpec, they refer to their schemas.
//
// Documents are made when they are first asked for, a few hundredths of a second each, and kept compressed within a bound. A
// [Documents] is safe for concurrent use and describes a fixed set of kinds; [Documents.Follow] makes the one for the next set, with
// everything that is not touched by the change. The bytes that it returns are shared and read-only.
package openapi
