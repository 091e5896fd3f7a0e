package builtin

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func configMaps() behaviour[*corev1.ConfigMap] {
	return behaviour[*corev1.ConfigMap]{
		validate: validateConfigMap,
		columns: []kind.Column{
			nameColumn(),
			number("Data", "How many keys it has", func(c *corev1.ConfigMap, _ time.Time) any { return int64(len(c.Data) + len(c.BinaryData)) }),
			ageColumn(),
		},
	}
}

func validateConfigMap(c, old *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	size := 0
	for key, value := range c.Data {
		at := field.NewPath("data").Key(key)
		errs = append(errs, checkName(key, at, configKey)...)
		if _, ok := c.BinaryData[key]; ok {
			errs = append(errs, field.Invalid(at, key, "the key is also in binaryData; it may be in one of the two"))
		}
		size += len(value)
	}
	for key, value := range c.BinaryData {
		errs = append(errs, checkName(key, field.NewPath("binaryData").Key(key), configKey)...)
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(field.NewPath(""), "", corev1.MaxSecretSize))
	}
	if old != nil && deref(old.Immutable) {
		const why = "field is immutable when `immutable` is set"
		if !deref(c.Immutable) {
			errs = append(errs, field.Forbidden(field.NewPath("immutable"), why))
		}
		if !same(c.Data, old.Data) {
			errs = append(errs, field.Forbidden(field.NewPath("data"), why))
		}
		if !same(c.BinaryData, old.BinaryData) {
			errs = append(errs, field.Forbidden(field.NewPath("binaryData"), why))
		}
	}
	return errs
}

func configKey(key string) []string { return validation.IsConfigMapKey(key) }
