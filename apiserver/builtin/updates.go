package builtin

import (
	"slices"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// updates sets what an update of each kind may do without: the object itself, or the version that it was made from. Source: the
// AllowCreateOnUpdate and AllowUnconditionalUpdate of upstream's strategies.
func updates(kinds []*kind.Kind) []*kind.Kind {
	for i, k := range kinds {
		s := k.Strategy
		s.CreateOnUpdate = slices.Contains([]string{"Endpoints", "Event", "Lease", "LimitRange", "RuntimeClass", "Service"}, k.Name) ||
			k.Group == "rbac.authorization.k8s.io"
		s.NeedsVersion = k.Group == "admissionregistration.k8s.io" || slices.Contains([]string{
			"ClusterTrustBundle", "CSIDriver", "CSINode", "CSIStorageCapacity", "Lease", "PodCertificateRequest", "PodDisruptionBudget", "RuntimeClass",
			"StorageVersionMigration", "VolumeAttachment",
		}, k.Name)
		if s.CreateOnUpdate || s.NeedsVersion {
			kinds[i] = k.With(s)
		}
	}
	return kinds
}
