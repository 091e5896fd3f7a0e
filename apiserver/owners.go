package apiserver

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What clients are told about owner references that are there twice. The texts are upstream's.
const (
	textOwners = ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; " +
		"please fix your requests; duplicate UID(s) observed: %v"
	textOwnersAfter = ".metadata.ownerReferences contains duplicate entries after mutating admission happens; API server dedups owner references in 1.20+, " +
		"and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: %v"
)

// owners drops owner references that are there twice, with a warning.
func (c *call) owners(obj metav1.Object, text string) {
	refs := obj.GetOwnerReferences()
	if len(refs) < 2 {
		return
	}
	var twice []string
	kept := make([]metav1.OwnerReference, 0, len(refs))
	byUID := make(map[string][]metav1.OwnerReference, len(refs))
	for _, ref := range refs {
		uid := string(ref.UID)
		if slices.ContainsFunc(byUID[uid], func(r metav1.OwnerReference) bool { return equality.Semantic.DeepEqual(r, ref) }) {
			twice = append(twice, uid)
			continue
		}
		byUID[uid] = append(byUID[uid], ref)
		kept = append(kept, ref)
	}
	if len(twice) > 0 {
		obj.SetOwnerReferences(kept)
		c.warnings = append(c.warnings, fmt.Sprintf(text, strings.Join(twice, ", ")))
	}
}
