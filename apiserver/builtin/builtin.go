package builtin

import "github.com/keelson-dev/keelson/apiserver/kind"

// Options vary the behaviour. The zero value is what Kubernetes does.
type Options struct {
	// EmbeddedNetwork allows addresses in 127.0.0.0/8 for endpoints. False refuses them, as upstream does: a proxy that
	// forwards to its own loopback would expose what listens there.
	EmbeddedNetwork bool
}

// Kinds are all built-in kinds with the behaviour of Kubernetes. The caller owns the slice.
func Kinds() []*kind.Kind { return KindsWith(Options{}) }

// KindsWith is Kinds with some rules changed.
func KindsWith(o Options) []*kind.Kind {
	return updates([]*kind.Kind{
		configMaps().of(kind.ConfigMap),
		endpoints(o).of(kind.Endpoints),
		events().of(kind.Event),
		namespaces().of(kind.Namespace),
		nodes().of(kind.Node),
		pods().of(kind.Pod),
		secrets().of(kind.Secret),
		services().of(kind.Service),
		serviceAccounts().of(kind.ServiceAccount),
		deployments().of(kind.Deployment),
		replicaSets().of(kind.ReplicaSet),
		jobs().of(kind.Job),
		leases().of(kind.Lease),
		endpointSlices(o).of(kind.EndpointSlice),
		ingresses().of(kind.Ingress),
		ingressClasses().of(kind.IngressClass),
		priorityClasses().of(kind.PriorityClass),
		roles().of(kind.Role),
		roleBindings().of(kind.RoleBinding),
		clusterRoles().of(kind.ClusterRole),
		clusterRoleBindings().of(kind.ClusterRoleBinding),
		limitRanges().of(kind.LimitRange),
		persistentVolumes().of(kind.PersistentVolume),
		persistentVolumeClaims().of(kind.PersistentVolumeClaim),
		podTemplates().of(kind.PodTemplate),
		replicationControllers().of(kind.ReplicationController),
		resourceQuotas().of(kind.ResourceQuota),
		controllerRevisions().of(kind.ControllerRevision),
		daemonSets().of(kind.DaemonSet),
		statefulSets().of(kind.StatefulSet),
		horizontalPodAutoscalers().of(kind.HorizontalPodAutoscaler),
		autoscalersV1(),
		newEvents(),
		cronJobs().of(kind.CronJob),
		ipAddresses().of(kind.IPAddress),
		networkPolicies().of(kind.NetworkPolicy),
		serviceCIDRs().of(kind.ServiceCIDR),
		podDisruptionBudgets().of(kind.PodDisruptionBudget),
		runtimeClasses().of(kind.RuntimeClass),
		csiDrivers().of(kind.CSIDriver),
		csiNodes().of(kind.CSINode),
		csiStorageCapacities().of(kind.CSIStorageCapacity),
		storageClasses().of(kind.StorageClass),
		volumeAttachments().of(kind.VolumeAttachment),
		volumeAttributesClasses().of(kind.VolumeAttributesClass),
		mutatingWebhooks().of(kind.MutatingWebhookConfiguration),
		validatingWebhooks().of(kind.ValidatingWebhookConfiguration),
		mutatingPolicies().of(kind.MutatingAdmissionPolicy),
		mutatingPolicyBindings().of(kind.MutatingAdmissionPolicyBinding),
		validatingPolicies().of(kind.ValidatingAdmissionPolicy),
		validatingPolicyBindings().of(kind.ValidatingAdmissionPolicyBinding),
		certificateSigningRequests().of(kind.CertificateSigningRequest),
		clusterTrustBundles().of(kind.ClusterTrustBundle),
		podCertificateRequests().of(kind.PodCertificateRequest),
		flowSchemas().of(kind.FlowSchema),
		priorityLevels().of(kind.PriorityLevelConfiguration),
		deviceClasses().of(kind.DeviceClass),
		deviceTaintRules().of(kind.DeviceTaintRule),
		resourceClaims().of(kind.ResourceClaim),
		resourceClaimTemplates().of(kind.ResourceClaimTemplate),
		resourceSlices().of(kind.ResourceSlice),
		storageVersionMigrations().of(kind.StorageVersionMigration),
	})
}
