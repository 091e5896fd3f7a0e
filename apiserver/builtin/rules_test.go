package builtin_test

import (
	"encoding/json"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// rule is one change of a valid object, as a merge patch, and what is wrong with the outcome: beginnings of the errors, none
// when it is valid.
type rule struct {
	patch string
	want  []string
}

// rules are a valid object of a kind and changes of it: as it is created, and as it is updated.
type rules struct {
	valid            string
	creates, updates []rule
}

func TestRules(t *testing.T) {
	for _, set := range [][]rules{podRules(), workloadRules(), storageRules(), networkRules(), policyRules(), certificateRules(t), deviceRules()} {
		for _, r := range set {
			k, valid := object(t, r.valid)
			t.Run(k.String(), func(t *testing.T) {
				old := k.Copy(valid)
				require.Empty(t, texts(pass(k, old, nil)), "the object that the others are made from")
				require.Empty(t, texts(pass(k, k.Copy(old), old)), "an update that changes nothing")
				for _, c := range r.creates {
					contains(t, pass(k, patched(t, k, valid, c.patch), nil), c.want)
				}
				for _, c := range r.updates {
					obj := patched(t, k, old, c.patch)
					contains(t, pass(k, obj, old), c.want)
				}
			})
		}
	}
}

func patched(t *testing.T, k *kind.Kind, obj kind.Instance, patch string) kind.Instance {
	t.Helper()
	before, err := json.Marshal(obj)
	require.NoError(t, err)
	change, err := yaml.YAMLToJSON([]byte(patch))
	require.NoError(t, err, patch)
	after, err := jsonpatch.MergePatch(before, change)
	require.NoError(t, err)
	out, err := k.DecodeJSON(after, true)
	require.NoError(t, err, patch)
	return out
}

const podTemplate = "{metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}"

func workloadRules() []rules {
	return []rules{{
		valid: "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec: {serviceName: db, selector: {matchLabels: {app: web}}, template: " + podTemplate +
			", volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]}\n",
		creates: []rule{
			{"{spec: {template: {spec: {containers: [{name: web, image: web, volumeMounts: [{name: data, mountPath: /d}]}]}}}}", nil},
			{"{metadata: {name: a.b}}", []string{`metadata.name: Invalid value: "a.b": must not contain dots`}},
			{"{spec: {selector: null}}", []string{"spec.selector: Required value"}},
			{"{spec: {selector: {matchLabels: null}}}", []string{"spec.selector: Invalid value: {}: empty selector is invalid for statefulset"}},
			{"{spec: {podManagementPolicy: Some}}", []string{`spec.podManagementPolicy: Invalid value: "Some": must be 'OrderedReady' or 'Parallel'`}},
			{"{spec: {updateStrategy: {type: OnDelete, rollingUpdate: {partition: 1}}}}", []string{"spec.updateStrategy.rollingUpdate: Invalid value"}},
			{"{spec: {updateStrategy: {type: Blue}}}", []string{"spec.updateStrategy: Invalid value"}},
			{"{spec: {updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: -1}}}}", []string{"spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0"}},
			{"{spec: {updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 0}}}}", []string{"spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0"}},
			{"{spec: {updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 101%}}}}", []string{`spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%`}},
			{"{spec: {persistentVolumeClaimRetentionPolicy: {whenDeleted: Burn}}}", []string{`spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "Burn": supported values: "Retain", "Delete"`}},
			{"{spec: {replicas: -1, minReadySeconds: -1, revisionHistoryLimit: -1, ordinals: {start: -1}}}", []string{
				"spec.replicas: Invalid value: -1", "spec.minReadySeconds: Invalid value: -1", "spec.revisionHistoryLimit: Invalid value: -1", "spec.ordinals.start: Invalid value: -1"}},
			{"{spec: {serviceName: A.b}}", []string{`spec.serviceName: Invalid value: "A.b"`}},
			{"{spec: {template: {spec: {restartPolicy: Never}}}}", []string{`spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`}},
			{"{spec: {template: {spec: {activeDeadlineSeconds: 5}}}}", []string{"spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported"}},
			{"{spec: {template: {metadata: {labels: {app: x}}}}}", []string{"spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`"}},
			{"{spec: {volumeClaimTemplates: [{metadata: {name: data}, spec: {resources: {requests: {storage: 1Gi}}}}]}}", []string{"spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required"}},
		},
		updates: []rule{
			{"{spec: {replicas: 3}}", nil},
			{"{spec: {serviceName: other}}", []string{`spec.serviceName: Invalid value: "other": field is immutable`}},
			{"{spec: {podManagementPolicy: Parallel}}", []string{`spec.podManagementPolicy: Invalid value: "Parallel": field is immutable`}},
			{"{spec: {volumeClaimTemplates: null}}", []string{"spec.volumeClaimTemplates: Invalid value: null: field is immutable"}},
			{"{spec: {selector: {matchLabels: {app: web, b: c}}, template: {metadata: {labels: {app: web, b: c}}}}}", []string{"spec.selector: Invalid value"}},
		},
	}, {
		valid: "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: agent}\nspec: {selector: {matchLabels: {app: web}}, template: " + podTemplate + "}\n",
		creates: []rule{
			{"{spec: {selector: {matchLabels: null}}}", []string{"spec.selector: Invalid value: {}: empty selector is invalid for daemonset"}},
			{"{spec: {updateStrategy: {type: Blue}}}", []string{`spec.updateStrategy: Unsupported value: "Blue": supported values: "RollingUpdate", "OnDelete"`}},
			{"{spec: {updateStrategy: {rollingUpdate: {maxUnavailable: 0}}}}", []string{"spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"}},
			{"{spec: {updateStrategy: {rollingUpdate: {maxSurge: 1}}}}", []string{`spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "1": may not be set when maxUnavailable is non-zero`}},
			{"{spec: {updateStrategy: {rollingUpdate: {maxUnavailable: 200%}}}}", []string{`spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "200%": must not be greater than 100%`}},
			{"{spec: {minReadySeconds: -1, revisionHistoryLimit: -2}}", []string{"spec.minReadySeconds: Invalid value: -1", "spec.revisionHistoryLimit: Invalid value: -2"}},
			{"{spec: {template: {spec: {restartPolicy: OnFailure}}}}", []string{"spec.template.spec.restartPolicy: Unsupported value"}},
		},
		updates: []rule{{"{spec: {selector: {matchLabels: {app: web, b: c}}, template: {metadata: {labels: {app: web, b: c}}}}}", []string{"spec.selector: Invalid value"}}},
	}, {
		valid: "apiVersion: v1\nkind: ReplicationController\nmetadata: {name: web}\nspec: {template: " + podTemplate + "}\n",
		creates: []rule{
			{"{spec: {template: null}}", []string{"spec.selector: Required value", "spec.template: Required value"}},
			{"{spec: {selector: {app: x}}}", []string{"spec.template.metadata.labels: Invalid value"}},
			{"{spec: {replicas: -1, minReadySeconds: -1}}", []string{"spec.replicas: Invalid value: -1", "spec.minReadySeconds: Invalid value: -1"}},
			{"{spec: {template: {spec: {restartPolicy: Never}}}}", []string{"spec.template.spec.restartPolicy: Unsupported value"}},
		},
	}, {
		valid:   "apiVersion: v1\nkind: PodTemplate\nmetadata: {name: web}\ntemplate: " + podTemplate + "\n",
		creates: []rule{{"{template: {spec: {containers: [{name: web}]}}}", []string{"template.spec.containers[0].image: Required value"}}},
	}, {
		valid: "apiVersion: apps/v1\nkind: ControllerRevision\nmetadata: {name: a}\nrevision: 1\ndata: {a: b}\n",
		creates: []rule{
			{"{revision: -1}", []string{"revision: Invalid value: -1"}},
			{"{data: null}", []string{"data: Required value: data is mandatory"}},
			{"{data: [1]}", []string{"data: Required value: data must be a valid JSON object"}},
		},
		updates: []rule{{"{revision: 2}", nil}, {"{data: {a: c}}", []string{"data: Invalid value"}}},
	}, {
		valid: "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly}\nspec: {schedule: '0 3 * * *', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: a}]}}}}}\n",
		creates: []rule{
			{"{spec: {schedule: '@every 1h', timeZone: Etc/UTC}}", nil},
			{"{metadata: {name: a123456789b123456789c123456789d123456789e123456789xyz}}", []string{"metadata.name: Invalid value", "metadata.name: Invalid value"}[:1]},
			{"{spec: {schedule: null}}", []string{"spec.schedule: Required value"}},
			{"{spec: {schedule: often}}", []string{`spec.schedule: Invalid value: "often": expected exactly 5 fields, found 1: [often]`}},
			{"{spec: {schedule: 'TZ=UTC 0 3 * * *'}}", []string{`spec.schedule: Invalid value: "TZ=UTC 0 3 * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead`}},
			{"{spec: {schedule: 'TZ=0'}}", []string{`spec.schedule: Invalid value: "TZ=0"`, "spec.schedule: Invalid value"}},
			{"{spec: {timeZone: ''}}", []string{`spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string`}},
			{"{spec: {timeZone: Mars/../Base}}", []string{`spec.timeZone: Invalid value: "Mars/../Base": unknown time zone Mars/../Base`}},
			{"{spec: {timeZone: Local}}", []string{`spec.timeZone: Invalid value: "Local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones`}},
			{"{spec: {concurrencyPolicy: Race}}", []string{`spec.concurrencyPolicy: Unsupported value: "Race": supported values: "Allow", "Forbid", "Replace"`}},
			{"{spec: {startingDeadlineSeconds: -1, successfulJobsHistoryLimit: -1, failedJobsHistoryLimit: -1}}", []string{
				"spec.startingDeadlineSeconds: Invalid value: -1", "spec.successfulJobsHistoryLimit: Invalid value: -1", "spec.failedJobsHistoryLimit: Invalid value: -1"}},
			{"{spec: {jobTemplate: {spec: {selector: {}}}}}", []string{"spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated"}},
			{"{spec: {jobTemplate: {spec: {manualSelector: true}}}}", []string{`spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false"`}},
			{"{spec: {jobTemplate: {spec: {template: {spec: {restartPolicy: Always}}}}}}", []string{`spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`}},
			{"{spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: a}]}}}}}}", []string{"spec.jobTemplate.spec.template.spec.containers[0].image: Required value"}},
		},
		updates: []rule{{"{spec: {schedule: '0 4 * * *', suspend: true}}", nil}},
	}, {
		valid: "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n",
		creates: []rule{
			{"{spec: {maxReplicas: null}}", []string{"spec.maxReplicas: Required value: must be set and greater than 0", "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`"}},
			{"{spec: {minReplicas: 6}}", []string{"spec.maxReplicas: Invalid value: 5: must be greater than or equal to `minReplicas`"}},
			{"{spec: {minReplicas: -1}}", []string{"spec.minReplicas: Invalid value: -1: must be greater than or equal to 0"}},
			{"{spec: {minReplicas: 0}}", []string{"spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas"}},
			{"{spec: {scaleTargetRef: {kind: null, name: a/b}}}", []string{"spec.scaleTargetRef.kind: Required value", `spec.scaleTargetRef.name: Invalid value: "a/b": may not contain '/'`}},
			{"{spec: {scaleTargetRef: {apiVersion: v1}}}", []string{`spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group`}},
			{"{spec: {metrics: [{type: Pods}]}}", []string{"spec.metrics[0].pods: Required value: must populate information for the given metric source"}},
			{"{spec: {metrics: [{type: Guess}]}}", []string{`spec.metrics[0].type: Unsupported value: "Guess"`}},
			{"{spec: {metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization}}}]}}", []string{"spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization"}},
			{"{spec: {metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 0}}}]}}", []string{"spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0"}},
			{"{spec: {metrics: [{type: Resource, resource: {name: cpu, target: {type: Share, averageUtilization: 5}}}]}}", []string{`spec.metrics[0].resource.target.type: Invalid value: "Share": must be either Utilization, Value, or AverageValue`}},
			{"{spec: {metrics: [{type: External, external: {metric: {name: ''}, target: {type: Value, value: 1, averageValue: 1}}}]}}", []string{
				"spec.metrics[0].external.metric.name: Required value: must specify a metric name", "spec.metrics[0].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target"}},
			{"{spec: {metrics: [{type: ContainerResource, containerResource: {name: cpu, container: '', target: {type: AverageValue, averageValue: 1}}}]}}", []string{"spec.metrics[0].containerResource.container: Required value: must specify a container"}},
			{"{spec: {behavior: {scaleUp: {policies: []}}}}", []string{"spec.behavior.scaleUp.policies: Required value: must specify at least one Policy"}},
			{"{spec: {behavior: {scaleDown: {stabilizationWindowSeconds: 3601, selectPolicy: Any, policies: [{type: Pods, value: 0, periodSeconds: 1801}]}}}}", []string{
				"spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600", `spec.behavior.scaleDown.selectPolicy: Unsupported value: "Any": supported values: "Disabled", "Max", "Min"`,
				"spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero", "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800"}},
		},
	}, {
		valid: "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {minAvailable: 1, selector: {matchLabels: {app: web}}}\n",
		creates: []rule{
			{"{spec: {maxUnavailable: 1}}", []string{"spec: Invalid value"}},
			{"{spec: {minAvailable: -1}}", []string{"spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"}},
			{"{spec: {minAvailable: 101%}}", []string{`spec.minAvailable: Invalid value: "101%": must not be greater than 100%`}},
			{"{spec: {minAvailable: half}}", []string{`spec.minAvailable: Invalid value: "half"`}},
			{"{spec: {unhealthyPodEvictionPolicy: Never}}", []string{`spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget"`}},
			{"{spec: {selector: {matchLabels: {app: 'a b'}}}}", []string{"spec.selector.matchLabels: Invalid value"}},
		},
	}, {
		valid: "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: fast}\nhandler: runc\n",
		creates: []rule{
			{"{handler: null}", []string{"handler: Required value"}},
			{"{handler: A_b}", []string{`handler: Invalid value: "A_b"`}},
			{"{scheduling: {tolerations: [{operator: Exists, value: x}]}}", []string{"scheduling.tolerations[0].value: Invalid value"}},
		},
		updates: []rule{{"{handler: other}", []string{`handler: Invalid value: "other": field is immutable`}}},
	}}
}
