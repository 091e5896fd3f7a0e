package openapi

import (
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	typeMetaType = reflect.TypeFor[metav1.TypeMeta]()
	listMetaType = reflect.TypeFor[metav1.ListMeta]()
)

// typeMetaDoc are the texts of the two fields that every object begins with.
var typeMetaDoc = map[string]string{
	"apiVersion": "APIVersion is the group and version of the schema that the object is written in, such as apps/v1.",
	"kind":       "Kind is the name of the schema that the object is written in, such as Deployment.",
}
