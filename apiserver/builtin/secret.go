package builtin

import (
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func secrets() behaviour[*corev1.Secret] {
	return behaviour[*corev1.Secret]{
		defaults: func(s *corev1.Secret) { set(&s.Type, corev1.SecretTypeOpaque) },
		prepare: func(s, old *corev1.Secret) {
			if len(s.StringData) > 0 && s.Data == nil {
				s.Data = make(map[string][]byte, len(s.StringData))
			}
			for key, value := range s.StringData {
				s.Data[key] = []byte(value)
			}
			s.StringData = nil
		},
		validate: validateSecret,
		fields:   map[string]func(*corev1.Secret) string{"type": func(s *corev1.Secret) string { return string(s.Type) }},
		columns: []kind.Column{
			nameColumn(),
			column("Type", "What the data is meant for", func(s *corev1.Secret, _ time.Time) any { return string(s.Type) }),
			number("Data", "How many keys it has", func(s *corev1.Secret, _ time.Time) any { return int64(len(s.Data)) }),
			ageColumn(),
		},
	}
}

func validateSecret(s, old *corev1.Secret) field.ErrorList {
	var errs field.ErrorList
	data := field.NewPath("data")
	size := 0
	for key, value := range s.Data {
		errs = append(errs, checkName(key, data.Key(key), configKey)...)
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(data, "", corev1.MaxSecretSize))
	}
	need := func(keys ...string) {
		for _, key := range keys {
			if _, ok := s.Data[key]; !ok {
				errs = append(errs, field.Required(data.Key(key), "secrets of type "+string(s.Type)+" have it"))
			}
		}
	}
	switch s.Type {
	case corev1.SecretTypeTLS:
		need(corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	case corev1.SecretTypeSSHAuth:
		need(corev1.SSHAuthPrivateKey)
	case corev1.SecretTypeDockerConfigJson:
		need(corev1.DockerConfigJsonKey)
		if raw, ok := s.Data[corev1.DockerConfigJsonKey]; ok && !json.Valid(raw) {
			errs = append(errs, field.Invalid(data.Key(corev1.DockerConfigJsonKey), "<secret contents redacted>", "must be JSON"))
		}
	case corev1.SecretTypeBasicAuth:
		_, user := s.Data[corev1.BasicAuthUsernameKey]
		_, password := s.Data[corev1.BasicAuthPasswordKey]
		if !user && !password {
			need(corev1.BasicAuthUsernameKey, corev1.BasicAuthPasswordKey)
		}
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			errs = append(errs, field.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), ""))
		}
	}
	if old == nil {
		return errs
	}
	errs = append(errs, immutable(s.Type, old.Type, field.NewPath("type"))...)
	if deref(old.Immutable) {
		const why = "field is immutable when `immutable` is set"
		if !deref(s.Immutable) {
			errs = append(errs, field.Forbidden(field.NewPath("immutable"), why))
		}
		if !same(s.Data, old.Data) {
			errs = append(errs, field.Forbidden(data, why))
		}
	}
	return errs
}
