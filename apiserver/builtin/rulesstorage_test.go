package builtin_test

func storageRules() []rules {
	return []rules{{
		valid: "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: disk}\nspec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /data}}\n",
		creates: []rule{
			{"{spec: {accessModes: null}}", []string{"spec.accessModes: Required value"}},
			{"{spec: {accessModes: [Sometimes]}}", []string{`spec.accessModes: Unsupported value: "Sometimes": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"`}},
			{"{spec: {accessModes: [ReadWriteOncePod, ReadWriteOnce]}}", []string{"spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"}},
			{"{spec: {capacity: null}}", []string{"spec.capacity: Required value", `spec.capacity: Unsupported value: null: supported values: "storage"`}},
			{"{spec: {capacity: {storage: 0}}}", []string{`spec.capacity[storage]: Invalid value: "0": must be greater than zero`}},
			{"{spec: {hostPath: null}}", []string{"spec: Required value: must specify a volume type"}},
			{"{spec: {nfs: {server: a, path: /b}}}", []string{"spec.nfs: Forbidden: may not specify more than 1 volume type"}},
			{"{spec: {hostPath: null, nfs: {server: '', path: b}}}", []string{"spec.nfs.server: Required value", `spec.nfs.path: Invalid value: "b": must be an absolute path`}},
			{"{spec: {hostPath: null, local: {path: /a/../b}}}", []string{`spec.local.path: Invalid value: "/a/../b": must not contain '..'`, "spec.nodeAffinity: Required value: Local volume requires node affinity"}},
			{"{spec: {hostPath: null, csi: {driver: d, volumeHandle: ''}}}", []string{"spec.csi.volumeHandle: Required value"}},
			{"{spec: {hostPath: {path: /}, persistentVolumeReclaimPolicy: Recycle}}", []string{"spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"}},
			{"{spec: {persistentVolumeReclaimPolicy: Burn}}", []string{`spec.persistentVolumeReclaimPolicy: Unsupported value: "Burn": supported values: "Delete", "Recycle", "Retain"`}},
			{"{spec: {volumeMode: Tape}}", []string{`spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"`}},
			{"{spec: {storageClassName: A_}}", []string{`spec.storageClassName: Invalid value: "A_"`}},
			{"{spec: {volumeAttributesClassName: gold}}", []string{"spec.csi: Required value: has to be specified when using volumeAttributesClassName"}},
			{"{spec: {nodeAffinity: {}}}", []string{"spec.nodeAffinity.required: Required value: must specify required node constraints"}},
		},
		updates: []rule{
			{"{spec: {capacity: {storage: 2Gi}}}", nil},
			{"{spec: {hostPath: {path: /other}}}", []string{"spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"}},
			{"{spec: {volumeMode: Block}}", []string{`volumeMode: Invalid value: "Block": field is immutable`}},
		},
	}, {
		valid: "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\nstatus: {phase: Bound, capacity: {storage: 1Gi}}\n",
		creates: []rule{
			{"{spec: {accessModes: null}}", []string{"spec.accessModes: Required value: at least 1 access mode is required"}},
			{"{spec: {resources: null}}", []string{"spec.resources[storage]: Required value"}},
			{"{spec: {resources: {requests: {storage: 0}}}}", []string{`spec.resources[storage]: Invalid value: "0": must be greater than zero`}},
			{"{spec: {volumeMode: Tape}}", []string{"spec.volumeMode: Unsupported value"}},
			{"{spec: {dataSourceRef: {kind: Backup, name: b}}}", []string{
				`spec.dataSource: Invalid value: "Backup": must be 'PersistentVolumeClaim' when referencing the default apiGroup`,
				`spec.dataSourceRef: Invalid value: "Backup": must be 'PersistentVolumeClaim' when referencing the default apiGroup`}},
			{"{spec: {dataSource: {kind: PersistentVolumeClaim, name: a}, dataSourceRef: {kind: PersistentVolumeClaim, name: b}}}", []string{`spec: Invalid value: "spec.dataSource": must match dataSourceRef`}},
			{"{spec: {dataSource: {kind: Backup, name: b}}}", nil}, // dropped, as it always was
		},
		updates: []rule{
			{"{spec: {resources: {requests: {storage: 2Gi}}}}", nil},
			{"{spec: {volumeName: disk}}", nil},
			{"{spec: {resources: {requests: {storage: 512Mi}}}}", []string{"spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"}},
			{"{spec: {accessModes: [ReadWriteMany]}}", []string{"spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"}},
			{"{spec: {storageClassName: gold}}", nil}, // it had none
		},
	}, {
		valid: "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: fast}\nprovisioner: example.com/disk\n",
		creates: []rule{
			{"{provisioner: null}", []string{"provisioner: Required value"}},
			{"{provisioner: 'a b'}", []string{`provisioner: Invalid value: "a b"`}},
			{"{parameters: {'': x}}", []string{`parameters: Invalid value: "": field can not be empty.`}},
			{"{reclaimPolicy: Recycle}", []string{`reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"`}},
			{"{volumeBindingMode: Later}", []string{`volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", "WaitForFirstConsumer"`}},
			{"{allowedTopologies: [{matchLabelExpressions: [{key: zone, values: []}]}]}", []string{"allowedTopologies[0].matchLabelExpressions[0].values: Required value"}},
		},
		updates: []rule{
			{"{allowVolumeExpansion: true}", nil},
			{"{provisioner: other.com/x}", []string{`provisioner: Invalid value: "other.com/x": field is immutable`}},
			{"{reclaimPolicy: Retain}", []string{`reclaimPolicy: Invalid value: "Retain": field is immutable`}},
		},
	}, {
		valid: "apiVersion: storage.k8s.io/v1\nkind: VolumeAttributesClass\nmetadata: {name: gold}\ndriverName: example.com\nparameters: {iops: '100'}\n",
		creates: []rule{
			{"{driverName: null}", []string{"driverName: Required value"}},
			{"{parameters: null}", []string{"parameters: Required value: must contain at least one key/value pair"}},
		},
		updates: []rule{
			{"{driverName: other.com}", []string{"driverName: Forbidden: updates to driverName are forbidden."}},
			{"{parameters: {iops: '200'}}", []string{"parameters: Forbidden: updates to parameters are forbidden."}},
		},
	}, {
		valid: "apiVersion: storage.k8s.io/v1\nkind: CSIDriver\nmetadata: {name: example.com}\nspec: {}\n",
		creates: []rule{
			{"{spec: {fsGroupPolicy: Maybe}}", []string{`spec.fsGroupPolicy: Unsupported value: "Maybe"`}},
			{"{spec: {volumeLifecycleModes: [Forever]}}", []string{`spec.volumeLifecycleModes: Unsupported value: "Forever": supported values: "Persistent", "Ephemeral"`}},
			{"{spec: {tokenRequests: [{audience: a, expirationSeconds: 10}, {audience: a}]}}", []string{
				"spec.tokenRequests[0].expirationSeconds: Invalid value: 10: may not specify a duration less than 10 minutes", `spec.tokenRequests[1].audience: Duplicate value: "a"`}},
			{"{spec: {nodeAllocatableUpdatePeriodSeconds: 5}}", []string{"spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 5: must be greater than or equal to 10 seconds"}},
			{"{spec: {serviceAccountTokenInSecrets: true}}", []string{"spec.serviceAccountTokenInSecrets: Invalid value: true"}},
		},
		updates: []rule{
			{"{spec: {podInfoOnMount: true}}", nil},
			{"{spec: {attachRequired: false}}", []string{"spec.attachedRequired: Invalid value: false: field is immutable"}},
		},
	}, {
		valid: "apiVersion: storage.k8s.io/v1\nkind: CSINode\nmetadata: {name: n1}\nspec: {drivers: [{name: example.com, nodeID: a, topologyKeys: [zone]}]}\n",
		creates: []rule{
			{"{spec: {drivers: [{name: '', nodeID: '', topologyKeys: null}]}}", []string{"spec.drivers[0].name: Required value", "spec.drivers[0].nodeID: Required value"}},
			{"{spec: {drivers: [{name: a, nodeID: a, topologyKeys: [z, z]}]}}", []string{`spec.drivers[0]: Duplicate value: "z"`}},
			{"{spec: {drivers: [{name: a, nodeID: a, topologyKeys: null, allocatable: {count: -1}}]}}", []string{"spec.drivers[0].allocatable.count: Invalid value: -1"}},
		},
		updates: []rule{
			{"{spec: {drivers: [{name: example.com, nodeID: a, topologyKeys: [zone], allocatable: {count: 5}}]}}", nil},
			{"{spec: {drivers: [{name: example.com, nodeID: b, topologyKeys: [zone]}]}}", []string{"spec.drivers: Invalid value"}},
		},
	}, {
		valid:   "apiVersion: storage.k8s.io/v1\nkind: CSIStorageCapacity\nmetadata: {name: a}\nstorageClassName: fast\ncapacity: 1Gi\n",
		creates: []rule{{"{capacity: -1}", []string{`capacity: Invalid value: "-1"`}}, {"{storageClassName: A_}", []string{"storageClassName: Invalid value"}}},
		updates: []rule{{"{capacity: 2Gi}", nil}, {"{storageClassName: slow}", []string{`storageClassName: Invalid value: "slow": field is immutable`}}},
	}, {
		valid: "apiVersion: storage.k8s.io/v1\nkind: VolumeAttachment\nmetadata: {name: a}\nspec: {attacher: example.com, nodeName: n1, source: {persistentVolumeName: disk}}\n",
		creates: []rule{
			{"{spec: {attacher: ''}}", []string{"spec.attacher: Required value"}},
			{"{spec: {source: {persistentVolumeName: null}}}", []string{"spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"}},
			{"{spec: {source: {persistentVolumeName: ''}}}", []string{"spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName"}},
			{"{spec: {source: {persistentVolumeName: null, inlineVolumeSpec: {accessModes: [ReadWriteOnce], capacity: {storage: 1}}}}}", []string{
				"spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes", "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes"}},
		},
		updates: []rule{{"{spec: {nodeName: n2}}", []string{"spec: Invalid value"}}},
	}, {
		valid: "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: q}\nspec: {hard: {pods: 5, limits.cpu: 4}}\n",
		creates: []rule{
			{"{spec: {hard: {pods: -1}}}", []string{`spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0`}},
			{"{spec: {hard: {pods: 500m}}}", []string{`spec.hard[pods]: Invalid value: "500m": must be an integer`}},
			{"{spec: {hard: {dreams: 1}}}", []string{`spec.hard[dreams]: Invalid value: "dreams": must be a standard resource type or fully qualified`, `spec.hard[dreams]: Invalid value: "dreams": must be a standard resource for quota`}},
			{"{spec: {hard: {count/deployments.apps: 1}}}", nil},
			{"{spec: {scopes: [Odd]}}", []string{`spec.scopes: Invalid value: ["Odd"]: unsupported scope`}},
			{"{spec: {scopes: [BestEffort]}}", []string{`spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource`}},
			{"{spec: {hard: {limits.cpu: null}, scopes: [BestEffort, NotBestEffort]}}", []string{`spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes`}},
			{"{spec: {scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In}]}}}", []string{"spec.scopeSelector.matchExpressions.values: Required value"}},
			{"{spec: {scopeSelector: {matchExpressions: [{scopeName: Terminating, operator: In, values: [a]}]}}}", []string{`spec.scopeSelector.matchExpressions.operator: Invalid value: "In": must be 'Exists' when scope is any of`}},
		},
		updates: []rule{{"{spec: {hard: {pods: 6}}}", nil}, {"{spec: {scopes: [Terminating]}}", []string{`spec.scopes: Invalid value: ["Terminating"]: field is immutable`}}},
	}, {
		valid: "apiVersion: v1\nkind: LimitRange\nmetadata: {name: l}\nspec: {limits: [{type: Container, max: {cpu: 2}, min: {cpu: 100m}}]}\n",
		creates: []rule{
			{"{spec: {limits: [{type: Odd}]}}", []string{`spec.limits[0].type: Invalid value: "Odd": must be a standard limit type or fully qualified`}},
			{"{spec: {limits: [{type: Pod}, {type: Pod}]}}", []string{`spec.limits[1].type: Duplicate value: "Pod"`}},
			{"{spec: {limits: [{type: Pod, default: {cpu: 1}}]}}", []string{"spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"}},
			{"{spec: {limits: [{type: Pod, max: {cpu: 1}, min: {cpu: 2}}]}}", []string{`spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1`}},
			{"{spec: {limits: [{type: Container, default: {cpu: 1}, defaultRequest: {cpu: 2}}]}}", []string{`spec.limits[0].defaultRequest[cpu]: Invalid value: "2": default request value 2 is greater than default limit value 1`}},
			{"{spec: {limits: [{type: Container, maxLimitRequestRatio: {cpu: 500m}}]}}", []string{`spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1`}},
			{"{spec: {limits: [{type: PersistentVolumeClaim}]}}", []string{"spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided"}},
			{"{spec: {limits: [{type: Container, max: {dreams: 1}}]}}", []string{`spec.limits[0].max[dreams]: Invalid value: "dreams"`, `spec.limits[0].default[dreams]: Invalid value: "dreams"`, `spec.limits[0].defaultRequest[dreams]: Invalid value: "dreams"`}},
		},
	}}
}
