package builtin

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func serviceAccounts() behaviour[*corev1.ServiceAccount] {
	return behaviour[*corev1.ServiceAccount]{columns: []kind.Column{nameColumn(), ageColumn()}}
}
