package crd

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func lower(s string) string { return strings.ToLower(s) }

// condition finds a condition, nil when it is not there.
func condition(d *CustomResourceDefinition, name string) *Condition {
	i := slices.IndexFunc(d.Status.Conditions, func(c Condition) bool { return c.Type == name })
	if i < 0 {
		return nil
	}
	return &d.Status.Conditions[i]
}

func isTrue(d *CustomResourceDefinition, name string) bool {
	c := condition(d, name)
	return c != nil && c.Status == metav1.ConditionTrue
}

// setCondition puts a condition in place of the one that is there. The time of transition moves when the status changes.
func setCondition(d *CustomResourceDefinition, c Condition, now metav1.Time) {
	c.LastTransitionTime = now.Rfc3339Copy()
	old := condition(d, c.Type)
	if old == nil {
		d.Status.Conditions = append(slices.Clone(d.Status.Conditions), c)
		return
	}
	if old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	*old = c
}

// settle decides the status of a definition beside the others of its group: which names it has, and whether it is in force. It
// changes d, and is the rule of apiextensions-apiserver's naming and establishing controllers.
func settle(d *CustomResourceDefinition, others []*CustomResourceDefinition, now metav1.Time) {
	resources, kinds := map[string]bool{}, map[string]bool{}
	for _, o := range others {
		if o.Name == d.Name || o.Spec.Group != d.Spec.Group {
			continue
		}
		n := o.Status.AcceptedNames
		for _, name := range append([]string{n.Plural, n.Singular}, n.ShortNames...) {
			resources[name] = true
		}
		kinds[n.Kind], kinds[n.ListKind] = true, true
	}
	delete(resources, "")
	delete(kinds, "")
	had, want := d.Status.AcceptedNames, d.Spec.Names
	names := had
	accepted := Condition{Type: NamesAccepted, Status: metav1.ConditionTrue, Reason: "NoConflicts", Message: "no conflicts found"}
	take := func(into *string, asked, mine string, used map[string]bool, reason string) {
		if asked != mine && used[asked] {
			accepted.Status, accepted.Reason, accepted.Message = metav1.ConditionFalse, reason, fmt.Sprintf("%q is already in use", asked)
			return
		}
		*into = asked
	}
	take(&names.Plural, want.Plural, had.Plural, resources, "PluralConflict")
	take(&names.Singular, want.Singular, had.Singular, resources, "SingularConflict")
	short := true
	for _, s := range want.ShortNames {
		if !slices.Contains(had.ShortNames, s) && resources[s] {
			accepted.Status, accepted.Reason, accepted.Message = metav1.ConditionFalse, "ShortNamesConflict", fmt.Sprintf("%q is already in use", s)
			short = false
		}
	}
	if short {
		names.ShortNames = want.ShortNames
	}
	take(&names.Kind, want.Kind, had.Kind, kinds, "KindConflict")
	take(&names.ListKind, want.ListKind, had.ListKind, kinds, "ListKindConflict")
	names.Categories = want.Categories
	d.Status.AcceptedNames = names

	established := Condition{Type: Established, Status: metav1.ConditionFalse, Reason: "NotAccepted", Message: "not all names are accepted"}
	switch was := condition(d, Established); {
	case was != nil && was.Status == metav1.ConditionTrue:
		established = *was // names that are lost later do not take the resource away
	case accepted.Status == metav1.ConditionTrue && badBundle(d):
		established.Reason, established.Message = "InvalidCABundle", "The conversion webhook CABundle is invalid"
	case accepted.Status == metav1.ConditionTrue:
		established.Status, established.Reason, established.Message = metav1.ConditionTrue, "InitialNamesAccepted", "the initial names have been accepted"
	}
	setCondition(d, accepted, now)
	setCondition(d, established, now)
	if protectedGroup(d.Spec.Group) {
		setCondition(d, approvalCondition(d), now)
	}
}

func badBundle(d *CustomResourceDefinition) bool { return oldBundleInvalid(d) }

func approvalCondition(d *CustomResourceDefinition) Condition {
	state, why := approval(d.Annotations)
	c := Condition{Type: KubernetesAPIApprovalPolicyConformant, Status: metav1.ConditionFalse, Message: why}
	switch state {
	case approvalMissing:
		c.Reason = "MissingAnnotation"
	case approvalInvalid:
		c.Reason = "InvalidAnnotation"
	case approvalBypassed:
		c.Reason = "UnapprovedAPI"
	case approved:
		c.Status, c.Reason = metav1.ConditionTrue, "ApprovedAnnotation"
	}
	return c
}
