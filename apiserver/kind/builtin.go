package kind

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
)

// The built-in kinds, those of k8s.io/api's stable groups: identity only, which is all a client needs. Treat them as
// constants; package builtin gives them behaviour for a server.
var (
	LimitRange            = core[*corev1.LimitRange](Kind{Name: "LimitRange", ShortNames: []string{"limits"}, Namespaced: true})
	PersistentVolume      = core[*corev1.PersistentVolume](Kind{Name: "PersistentVolume", ShortNames: []string{"pv"}})
	PersistentVolumeClaim = core[*corev1.PersistentVolumeClaim](Kind{Name: "PersistentVolumeClaim", ShortNames: []string{"pvc"}, Namespaced: true})
	PodTemplate           = core[*corev1.PodTemplate](Kind{Name: "PodTemplate", Namespaced: true})
	ReplicationController = core[*corev1.ReplicationController](Kind{Name: "ReplicationController", ShortNames: []string{"rc"}, Categories: all, Namespaced: true})
	ResourceQuota         = core[*corev1.ResourceQuota](Kind{Name: "ResourceQuota", ShortNames: []string{"quota"}, Namespaced: true})

	ConfigMap      = core[*corev1.ConfigMap](Kind{Name: "ConfigMap", ShortNames: []string{"cm"}, Namespaced: true})
	Endpoints      = core[*corev1.Endpoints](Kind{Name: "Endpoints", ListName: "EndpointsList", Plural: "endpoints", Singular: "endpoints", ShortNames: []string{"ep"}, Namespaced: true})
	Event          = core[*corev1.Event](Kind{Name: "Event", ShortNames: []string{"ev"}, Namespaced: true})
	Namespace      = core[*corev1.Namespace](Kind{Name: "Namespace", ShortNames: []string{"ns"}})
	Node           = core[*corev1.Node](Kind{Name: "Node", ShortNames: []string{"no"}})
	Pod            = core[*corev1.Pod](Kind{Name: "Pod", ShortNames: []string{"po"}, Categories: all, Namespaced: true})
	Secret         = core[*corev1.Secret](Kind{Name: "Secret", Namespaced: true})
	Service        = core[*corev1.Service](Kind{Name: "Service", ShortNames: []string{"svc"}, Categories: all, Namespaced: true})
	ServiceAccount = core[*corev1.ServiceAccount](Kind{Name: "ServiceAccount", ShortNames: []string{"sa"}, Namespaced: true})

	Deployment = v1[*appsv1.Deployment]("apps", Kind{Name: "Deployment", ShortNames: []string{"deploy"}, Categories: all, Namespaced: true})
	ReplicaSet = v1[*appsv1.ReplicaSet]("apps", Kind{Name: "ReplicaSet", ShortNames: []string{"rs"}, Categories: all, Namespaced: true})

	ControllerRevision = v1[*appsv1.ControllerRevision]("apps", Kind{Name: "ControllerRevision", Namespaced: true})
	DaemonSet          = v1[*appsv1.DaemonSet]("apps", Kind{Name: "DaemonSet", ShortNames: []string{"ds"}, Categories: all, Namespaced: true})
	StatefulSet        = v1[*appsv1.StatefulSet]("apps", Kind{Name: "StatefulSet", ShortNames: []string{"sts"}, Categories: all, Namespaced: true})

	HorizontalPodAutoscaler = stable[*autoscalingv2.HorizontalPodAutoscaler]("autoscaling", "v2", Kind{Name: "HorizontalPodAutoscaler", ShortNames: []string{"hpa"}, Categories: all, Namespaced: true})

	// HorizontalPodAutoscalerV1 and EventsEvent are other versions of what is stored as HorizontalPodAutoscaler and Event.
	HorizontalPodAutoscalerV1 = v1[*autoscalingv1.HorizontalPodAutoscaler]("autoscaling", Kind{Name: "HorizontalPodAutoscaler", ShortNames: []string{"hpa"}, Categories: all, Namespaced: true})
	EventsEvent               = v1[*eventsv1.Event]("events.k8s.io", Kind{Name: "Event", ShortNames: []string{"ev"}, Namespaced: true})

	CronJob       = v1[*batchv1.CronJob]("batch", Kind{Name: "CronJob", ShortNames: []string{"cj"}, Categories: all, Namespaced: true})
	Job           = v1[*batchv1.Job]("batch", Kind{Name: "Job", Categories: all, Namespaced: true})
	Lease         = v1[*coordinationv1.Lease]("coordination.k8s.io", Kind{Name: "Lease", Namespaced: true})
	EndpointSlice = v1[*discoveryv1.EndpointSlice]("discovery.k8s.io", Kind{Name: "EndpointSlice", Namespaced: true})
	Ingress       = v1[*networkingv1.Ingress]("networking.k8s.io", Kind{Name: "Ingress", ShortNames: []string{"ing"}, Namespaced: true})
	IngressClass  = v1[*networkingv1.IngressClass]("networking.k8s.io", Kind{Name: "IngressClass"})
	IPAddress     = v1[*networkingv1.IPAddress]("networking.k8s.io", Kind{Name: "IPAddress", ShortNames: []string{"ip"}})
	NetworkPolicy = v1[*networkingv1.NetworkPolicy]("networking.k8s.io", Kind{Name: "NetworkPolicy", ShortNames: []string{"netpol"}, Namespaced: true})
	ServiceCIDR   = v1[*networkingv1.ServiceCIDR]("networking.k8s.io", Kind{Name: "ServiceCIDR"})
	PriorityClass = v1[*schedulingv1.PriorityClass]("scheduling.k8s.io", Kind{Name: "PriorityClass", ShortNames: []string{"pc"}})

	Role               = v1[*rbacv1.Role]("rbac.authorization.k8s.io", Kind{Name: "Role", Namespaced: true})
	RoleBinding        = v1[*rbacv1.RoleBinding]("rbac.authorization.k8s.io", Kind{Name: "RoleBinding", Namespaced: true})
	ClusterRole        = v1[*rbacv1.ClusterRole]("rbac.authorization.k8s.io", Kind{Name: "ClusterRole"})
	ClusterRoleBinding = v1[*rbacv1.ClusterRoleBinding]("rbac.authorization.k8s.io", Kind{Name: "ClusterRoleBinding"})

	PodDisruptionBudget = v1[*policyv1.PodDisruptionBudget]("policy", Kind{Name: "PodDisruptionBudget", ShortNames: []string{"pdb"}, Namespaced: true})
	RuntimeClass        = v1[*nodev1.RuntimeClass]("node.k8s.io", Kind{Name: "RuntimeClass"})

	CSIDriver             = v1[*storagev1.CSIDriver]("storage.k8s.io", Kind{Name: "CSIDriver"})
	CSINode               = v1[*storagev1.CSINode]("storage.k8s.io", Kind{Name: "CSINode"})
	CSIStorageCapacity    = v1[*storagev1.CSIStorageCapacity]("storage.k8s.io", Kind{Name: "CSIStorageCapacity", Namespaced: true})
	StorageClass          = v1[*storagev1.StorageClass]("storage.k8s.io", Kind{Name: "StorageClass", ShortNames: []string{"sc"}})
	VolumeAttachment      = v1[*storagev1.VolumeAttachment]("storage.k8s.io", Kind{Name: "VolumeAttachment"})
	VolumeAttributesClass = v1[*storagev1.VolumeAttributesClass]("storage.k8s.io", Kind{Name: "VolumeAttributesClass", ShortNames: []string{"vac"}})

	MutatingWebhookConfiguration     = v1[*admissionregistrationv1.MutatingWebhookConfiguration]("admissionregistration.k8s.io", Kind{Name: "MutatingWebhookConfiguration", Categories: extensions})
	ValidatingWebhookConfiguration   = v1[*admissionregistrationv1.ValidatingWebhookConfiguration]("admissionregistration.k8s.io", Kind{Name: "ValidatingWebhookConfiguration", Categories: extensions})
	MutatingAdmissionPolicy          = v1[*admissionregistrationv1.MutatingAdmissionPolicy]("admissionregistration.k8s.io", Kind{Name: "MutatingAdmissionPolicy", Categories: extensions})
	MutatingAdmissionPolicyBinding   = v1[*admissionregistrationv1.MutatingAdmissionPolicyBinding]("admissionregistration.k8s.io", Kind{Name: "MutatingAdmissionPolicyBinding", Categories: extensions})
	ValidatingAdmissionPolicy        = v1[*admissionregistrationv1.ValidatingAdmissionPolicy]("admissionregistration.k8s.io", Kind{Name: "ValidatingAdmissionPolicy", Categories: extensions})
	ValidatingAdmissionPolicyBinding = v1[*admissionregistrationv1.ValidatingAdmissionPolicyBinding]("admissionregistration.k8s.io", Kind{Name: "ValidatingAdmissionPolicyBinding", Categories: extensions})

	CertificateSigningRequest = v1[*certificatesv1.CertificateSigningRequest]("certificates.k8s.io", Kind{Name: "CertificateSigningRequest", ShortNames: []string{"csr"}})
	ClusterTrustBundle        = v1[*certificatesv1.ClusterTrustBundle]("certificates.k8s.io", Kind{Name: "ClusterTrustBundle"})
	PodCertificateRequest     = v1[*certificatesv1.PodCertificateRequest]("certificates.k8s.io", Kind{Name: "PodCertificateRequest", Namespaced: true})

	FlowSchema                 = v1[*flowcontrolv1.FlowSchema]("flowcontrol.apiserver.k8s.io", Kind{Name: "FlowSchema"})
	PriorityLevelConfiguration = v1[*flowcontrolv1.PriorityLevelConfiguration]("flowcontrol.apiserver.k8s.io", Kind{Name: "PriorityLevelConfiguration"})

	DeviceClass           = v1[*resourcev1.DeviceClass]("resource.k8s.io", Kind{Name: "DeviceClass"})
	DeviceTaintRule       = v1[*resourcev1.DeviceTaintRule]("resource.k8s.io", Kind{Name: "DeviceTaintRule"})
	ResourceClaim         = v1[*resourcev1.ResourceClaim]("resource.k8s.io", Kind{Name: "ResourceClaim", Namespaced: true})
	ResourceClaimTemplate = v1[*resourcev1.ResourceClaimTemplate]("resource.k8s.io", Kind{Name: "ResourceClaimTemplate", Namespaced: true})
	ResourceSlice         = v1[*resourcev1.ResourceSlice]("resource.k8s.io", Kind{Name: "ResourceSlice"})

	StorageVersionMigration = v1[*storagemigrationv1.StorageVersionMigration]("storagemigration.k8s.io", Kind{Name: "StorageVersionMigration"})
)

var (
	all        = []string{"all"}
	extensions = []string{"api-extensions"}
)

func core[T Instance](k Kind) Type[T] { return v1[T]("", k) }

func v1[T Instance](group string, k Kind) Type[T] { return stable[T](group, "v1", k) }

func stable[T Instance](group, version string, k Kind) Type[T] {
	k.Group, k.Version = group, version
	return Must(Describe[T](k))
}
