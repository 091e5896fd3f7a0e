package builtin

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func leases() behaviour[*coordinationv1.Lease] {
	return behaviour[*coordinationv1.Lease]{
		validate: validateLease,
		columns: []kind.Column{
			nameColumn(),
			column("Holder", "Who holds the lease", func(l *coordinationv1.Lease, _ time.Time) any { return deref(l.Spec.HolderIdentity) }),
			ageColumn(),
		},
	}
}

func validateLease(l, _ *coordinationv1.Lease) field.ErrorList {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	if d := l.Spec.LeaseDurationSeconds; d != nil && *d <= 0 {
		errs = append(errs, field.Invalid(spec.Child("leaseDurationSeconds"), *d, "must be greater than 0"))
	}
	if n := l.Spec.LeaseTransitions; n != nil {
		errs = append(errs, notNegative(*n, spec.Child("leaseTransitions"))...)
	}
	if l.Spec.Strategy != nil {
		errs = append(errs, oneOf(*l.Spec.Strategy, spec.Child("strategy"), coordinationv1.OldestEmulationVersion)...)
	}
	if deref(l.Spec.PreferredHolder) != "" && deref(l.Spec.Strategy) == "" {
		errs = append(errs, field.Forbidden(spec.Child("preferredHolder"), "needs a strategy"))
	}
	return errs
}
