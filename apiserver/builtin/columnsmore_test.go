package builtin_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestColumnsOfFurtherKinds(t *testing.T) {
	for _, c := range []struct{ manifest, want string }{
		{"apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec: {replicas: 3, template: {spec: {containers: [{name: a, image: b}]}}}\nstatus: {readyReplicas: 1}\n", "db | 1/3 | 5m | a | b"},
		{"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: a}\nspec: {selector: {matchLabels: {x: z}}, template: {spec: {nodeSelector: {os: linux}, containers: [{name: a, image: b}]}}}\nstatus: {desiredNumberScheduled: 5, currentNumberScheduled: 4, numberReady: 3, updatedNumberScheduled: 2, numberAvailable: 1}\n",
			"a | 5 | 4 | 3 | 2 | 1 | os=linux | 5m | a | b | x=z"},
		{"apiVersion: v1\nkind: ReplicationController\nmetadata: {name: a}\nspec: {replicas: 2, selector: {x: z}, template: {metadata: {labels: {x: z}}, spec: {containers: [{name: a, image: b}]}}}\nstatus: {replicas: 1}\n", "a | 2 | 1 | 0 | 5m | a | b | x=z"},
		{"apiVersion: v1\nkind: PodTemplate\nmetadata: {name: a}\ntemplate: {metadata: {labels: {x: z}}, spec: {containers: [{name: a, image: b}]}}\n", "a | a | b | x=z"},
		{"apiVersion: apps/v1\nkind: ControllerRevision\nmetadata: {name: a-1, ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: a, uid: u, controller: true}]}\nrevision: 7\ndata: {}\n", "a-1 | statefulset.apps/a | 7 | 5m"},
		{"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: a}\nspec: {schedule: '@daily', jobTemplate: {spec: {template: {spec: {containers: [{name: a, image: b}]}}}}}\nstatus: {lastScheduleTime: '2026-01-01T11:00:00Z', active: [{name: x}]}\n", "a | @daily | <none> | False | 1 | 60m | 5m | a | b | <none>"},
		{"apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: a}\nspec: {maxUnavailable: 20%}\nstatus: {disruptionsAllowed: 2}\n", "a | N/A | 20% | 2 | 5m"},
		{"apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: a}\nspec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteMany, ReadWriteOnce], claimRef: {namespace: ns, name: c}, storageClassName: fast, hostPath: {path: /a}}\nstatus: {phase: Bound}\n",
			"a | 1Gi | RWO,RWX | Retain | Bound | ns/c | fast | <unset> |  | 5m | Filesystem"},
		{"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: a}\nspec: {volumeName: v, storageClassName: fast}\nstatus: {phase: Bound, accessModes: [ReadOnlyMany], capacity: {storage: 1Gi}}\n", "a | Bound | v | 1Gi | ROX | fast | <unset> | 5m | Filesystem"},
		{"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: a}\nspec: {accessModes: [ReadOnlyMany]}\n", "a | Pending |  |  |  |  | <unset> | 5m | Filesystem"},
		{"apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: a, annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}\nprovisioner: p\n", "a (default) | p | Delete | Immediate | false | 5m"},
		{"apiVersion: storage.k8s.io/v1\nkind: CSIDriver\nmetadata: {name: a}\nspec: {tokenRequests: [{audience: x}, {audience: z}]}\n", "a | true | false | false | x,z | false | Persistent | 5m"},
		{"apiVersion: storage.k8s.io/v1\nkind: CSINode\nmetadata: {name: a}\nspec: {drivers: [{name: d, nodeID: n1, topologyKeys: null}]}\n", "a | 1 | 5m"},
		{"apiVersion: storage.k8s.io/v1\nkind: CSIStorageCapacity\nmetadata: {name: a}\nstorageClassName: fast\ncapacity: 5Gi\n", "a | fast | 5Gi"},
		{"apiVersion: storage.k8s.io/v1\nkind: VolumeAttachment\nmetadata: {name: a}\nspec: {attacher: d, nodeName: n1, source: {persistentVolumeName: v}}\nstatus: {attached: true}\n", "a | d | v | n1 | true | 5m"},
		{"apiVersion: storage.k8s.io/v1\nkind: VolumeAttributesClass\nmetadata: {name: a}\ndriverName: d\n", "a | d | 5m"},
		{"apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: a}\nspec: {}\nstatus: {hard: {pods: 5, cpu: 2, limits.cpu: 4}, used: {pods: 1}}\n", "a | cpu: 0/2, pods: 1/5 | limits.cpu: 0/4 | 5m"},
		{"apiVersion: v1\nkind: LimitRange\nmetadata: {name: a}\nspec: {limits: []}\n", "a | 2026-01-01T11:55:00Z"},
		{"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\nspec: {podSelector: {}}\n", "a | <none> | 5m"},
		{"apiVersion: networking.k8s.io/v1\nkind: IPAddress\nmetadata: {name: 10.0.0.1}\nspec: {parentRef: {resource: services, namespace: ns, name: web}}\n", "10.0.0.1 | services/ns/web | 5m"},
		{"apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: a}\nspec: {cidrs: [10.0.0.0/24, '2001:db8::/64']}\n", "a | 10.0.0.0/24,2001:db8::/64 | 5m"},
		{"apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: a}\nhandler: runc\n", "a | runc | 5m"},
		{"apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {name: a}\nspec: {request: YQ==, signerName: x/y, username: u, expirationSeconds: 3600}\nstatus: {certificate: YQ==, conditions: [{type: Approved, status: 'True'}]}\n", "a | 5m | x/y | u | 60m | Approved,Issued"},
		{"apiVersion: certificates.k8s.io/v1\nkind: ClusterTrustBundle\nmetadata: {name: a}\nspec: {signerName: x/y, trustBundle: ''}\n", "a | x/y"},
		{"apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: a}\nwebhooks: [{name: x, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {}}]\n", "a | 1 | 5m"},
		{"apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: a}\nspec: {paramKind: {apiVersion: x/v1, kind: Z}, validations: [{expression: a}]}\n", "a | 1 | x/v1/Z | 5m"},
		{"apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: a}\nspec: {policyName: p, paramRef: {name: x}}\n", "a | p | */x | 5m"},
		{"apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingAdmissionPolicy\nmetadata: {name: a}\nspec: {mutations: [{patchType: JSONPatch}], reinvocationPolicy: Never}\n", "a | 1 | <unset> | 5m"},
		{"apiVersion: flowcontrol.apiserver.k8s.io/v1\nkind: FlowSchema\nmetadata: {name: a}\nspec: {priorityLevelConfiguration: {name: l}, distinguisherMethod: {type: ByUser}}\nstatus: {conditions: [{type: Dangling, status: 'False'}]}\n", "a | l | 1000 | ByUser | 5m | False"},
		{"apiVersion: flowcontrol.apiserver.k8s.io/v1\nkind: PriorityLevelConfiguration\nmetadata: {name: a}\nspec: {type: Limited, limited: {limitResponse: {type: Queue, queuing: {}}}}\n", "a | Limited | 30 | 64 | 8 | 50 | 5m"},
		{"apiVersion: flowcontrol.apiserver.k8s.io/v1\nkind: PriorityLevelConfiguration\nmetadata: {name: exempt}\nspec: {type: Exempt}\n", "exempt | Exempt | <none> | <none> | <none> | <none> | 5m"},
		{"apiVersion: resource.k8s.io/v1\nkind: ResourceClaim\nmetadata: {name: a}\nspec: {devices: {}}\nstatus: {allocation: {}, reservedFor: [{resource: pods, name: p, uid: u}]}\n", "a | allocated,reserved | 5m"},
		{"apiVersion: resource.k8s.io/v1\nkind: ResourceSlice\nmetadata: {name: a}\nspec: {driver: d, nodeName: n1, pool: {name: p, generation: 1, resourceSliceCount: 1}}\n", "a | n1 | d | p | 5m"},
		{"apiVersion: resource.k8s.io/v1\nkind: DeviceTaintRule\nmetadata: {name: a}\nspec: {taint: {key: k, effect: NoExecute, timeAdded: '2026-01-01T11:59:00Z'}}\n", "a | k |  | NoExecute | 60s | 5m"},
		{"apiVersion: storagemigration.k8s.io/v1\nkind: StorageVersionMigration\nmetadata: {name: a}\nspec: {resource: {group: apps, resource: deployments}}\nstatus: {conditions: [{type: Running, status: 'True'}]}\n", "a | deployments.apps | Running"},
	} {
		t.Run(c.manifest, func(t *testing.T) {
			k, obj := object(t, c.manifest)
			if k.Default != nil {
				k.Default(obj)
			}
			obj.SetCreationTimestamp(metav1.NewTime(noon.Add(-5 * time.Minute)))
			require.Equal(t, c.want, row(k, obj, noon, true))
		})
	}
}
