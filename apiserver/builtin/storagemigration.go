package builtin

import (
	"strconv"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func storageVersionMigrations() behaviour[*storagemigrationv1.StorageVersionMigration] {
	type migration = storagemigrationv1.StorageVersionMigration
	return behaviour[*migration]{
		validate: func(m, old *migration) field.ErrorList {
			at := field.NewPath("spec", "resource")
			var errs field.ErrorList
			if m.Spec.Resource.Resource == "" {
				errs = append(errs, field.Required(at.Child("resource"), "resource is required to be set"))
			}
			errs = append(errs, mayName(m.Spec.Resource.Resource, at.Child("resource"), dns1035Label)...)
			errs = append(errs, mayName(m.Spec.Resource.Group, at.Child("group"), dnsSubdomain)...)
			if old != nil {
				errs = append(errs, immutable(m.Spec, old.Spec, field.NewPath("spec"))...)
			}
			return errs
		},
		validateStatus: validateMigrationStatus,
		status:         true,
		generation:     kind.GenerationNever,
		columns: []kind.Column{
			{Name: "Name", Type: "string", Description: "Name of the object", Cell: nameColumn().Cell},
			text("Resource", "What is written again", func(m *migration) string {
				return m.Spec.Resource.String()
			}),
			text("Status", "How far it is", func(m *migration) string {
				state := "Unknown"
				for _, c := range m.Status.Conditions {
					switch c.Type {
					case string(storagemigrationv1.MigrationRunning), string(storagemigrationv1.MigrationFailed), string(storagemigrationv1.MigrationSucceeded):
						if c.Status == metav1.ConditionTrue {
							state = c.Type
						}
					}
				}
				return state
			}),
		},
	}
}

func validateMigrationStatus(m, old *storagemigrationv1.StorageVersionMigration) field.ErrorList {
	at := field.NewPath("status")
	errs := metav1validation.ValidateConditions(m.Status.Conditions, at.Child("conditions"))
	version := at.Child("resourceVersion")
	if v := m.Status.ResourceVersion; v != "" {
		if _, err := strconv.ParseUint(v, 10, 64); err != nil {
			errs = append(errs, field.Invalid(version, v, "resource version is not a non-negative integer"))
		}
	}
	if old != nil && old.Status.ResourceVersion != "" {
		errs = append(errs, immutable(m.Status.ResourceVersion, old.Status.ResourceVersion, version)...)
	}
	return errs
}
