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

// listKeys are the keys of lists that are maps by more, or by other, fields than their patch tag says.
// Source: the listMapKey comments of k8s.io/api.
var listKeys = map[string][]string{
	"Container.ports":                   {"containerPort", "protocol"},
	"EphemeralContainerCommon.ports":    {"containerPort", "protocol"},
	"ServiceSpec.ports":                 {"port", "protocol"},
	"PodSpec.topologySpreadConstraints": {"topologyKey", "whenUnsatisfiable"},
	"PodStatus.podIPs":                  {"ip"},
	"PodStatus.hostIPs":                 {"ip"},
	"PodSpec.resourceClaims":            {"name"},
	"ResourceRequirements.claims":       {"name"},
	"EndpointSlice.ports":               {}, // atomic
	"ObjectMeta.managedFields":          {}, // atomic
}

// atomicStructs are the types of k8s.io whose fields have one owner together.
// Source: the structType=atomic comments of k8s.io/api.
var atomicStructs = map[string]bool{
	"LabelSelector": true, "LocalObjectReference": true, "ObjectReference": true, "ObjectFieldSelector": true,
	"ResourceFieldSelector": true, "SecretKeySelector": true, "ConfigMapKeySelector": true, "NodeSelector": true,
	"NodeSelectorTerm": true, "TypedLocalObjectReference": true, "OwnerReference": true, "ScopeSelector": true,
	"TopologySelectorTerm": true, "SecretReference": true, "ScopedResourceSelectorRequirement": true, "FileKeySelector": true,
	"EndpointAddress": true, "EndpointPort": true, "RoleRef": true, "Subject": true, "ServiceBackendPort": true,
}
