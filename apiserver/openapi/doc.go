// Package openapi describes kinds in OpenAPI, from their Go types: field names and optionality from JSON tags, texts
// from the SwaggerDoc methods of k8s.io/api, merge strategies from patch tags. No code is generated.
//
//	docs := openapi.New(kinds, "v1.37.2")
//	data, err := docs.V3("apis/apps/v1") // one document per group and version
//	schemas := openapi.Schemas(kinds)    // for structural merges, such as server-side apply
//
// Documents are made when they are first asked for, and kept. A [Documents] is safe for concurrent use; the bytes that
// it returns are shared and read-only.
//
// List types are not in the Go types of k8s.io/api (they stand in comments only). They follow from the patch tags, plus
// a short list of the keys that those do not tell.
package openapi
