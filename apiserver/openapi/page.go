package openapi

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// page is what one document describes.
type page struct {
	kinds   []*kind.Kind // stored and served
	reviews []*kind.Kind // only ever created, and answered
	fixed   func(*paths) // paths beside those of kinds; nil: none
}

// pagesOf are the pages of kinds, by their path: one for each group and version, and those of discovery.
func pagesOf(kinds, reviews []*kind.Kind) map[string]*page {
	pages := map[string]*page{
		"api": {fixed: func(p *paths) {
			p.get("/api/", &kind.Kind{}, "APIVersions", "get available API versions", "APIVersions")
		}},
		"apis": {fixed: func(p *paths) {
			p.get("/apis/", &kind.Kind{Group: "apis"}, "", "get available API versions", "APIGroupList")
			p.all["/apis/"].Get.OperationId = "getAPIVersions" // of no group
		}},
		"version": {fixed: (*paths).version},
	}
	at := func(k *kind.Kind) *page {
		if group := "apis/" + k.Group; k.Group != "" && pages[group] == nil {
			pages[group] = &page{fixed: func(p *paths) {
				p.get("/"+group+"/", &kind.Kind{Group: k.Group}, "APIGroup", "get information of a group", "APIGroup")
			}}
		}
		path := Path(k.Group, k.Version)
		if pages[path] == nil {
			pages[path] = &page{}
		}
		return pages[path]
	}
	for _, k := range kinds {
		p := at(k)
		p.kinds = append(p.kinds, k)
	}
	for _, k := range reviews {
		p := at(k)
		p.reviews = append(p.reviews, k)
	}
	return pages
}

// namesOf are the kinds by the name of their schema.
func namesOf(kinds []*kind.Kind) map[string][]metav1.GroupVersionKind {
	out := make(map[string][]metav1.GroupVersionKind, len(kinds))
	for _, k := range kinds {
		name := Name(k)
		out[name] = append(out[name], metav1.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Name})
	}
	return out
}

// same reports whether both describe the same. Kinds are the same when they are one value: a set that replaces another shares what
// has not changed.
func (p *page) same(other *page) bool {
	return p != nil && slices.Equal(p.kinds, other.kinds) && slices.Equal(p.reviews, other.reviews)
}
