package builtin_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// there converts an object to the stored version and back, and answers both.
func there(t *testing.T, k *kind.Kind, obj kind.Instance) (stored, back kind.Instance) {
	t.Helper()
	stored, err := k.ToStored(t.Context(), k.Copy(obj))
	require.NoError(t, err)
	list, err := k.FromStored(t.Context(), []kind.Instance{k.Stored().Copy(stored)})
	require.NoError(t, err)
	return stored, list[0]
}

func TestAutoscalerVersions(t *testing.T) {
	k, obj := object(t, "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {maxReplicas: 5, targetCPUUtilizationPercentage: 40, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n")
	stored, back := there(t, k, obj)
	hpa := stored.(*autoscalingv2.HorizontalPodAutoscaler)
	require.Equal(t, "autoscaling/v2", hpa.APIVersion)
	require.Equal(t, int32(40), *hpa.Spec.Metrics[0].Resource.Target.AverageUtilization)
	require.Equal(t, obj, back)

	// Without a target the stored version has the default, and what is served says so.
	require.Empty(t, texts(pass(k, obj, nil)))
	without := obj.(*autoscalingv1.HorizontalPodAutoscaler).DeepCopy()
	without.Spec.TargetCPUUtilizationPercentage = nil
	_, back = there(t, k, without)
	require.Equal(t, int32(80), *back.(*autoscalingv1.HorizontalPodAutoscaler).Spec.TargetCPUUtilizationPercentage)

	// What v1 has no fields for survives a journey through it.
	v2, full := object(t, `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, annotations: {mine: "yes"}}
spec:
  minReplicas: 2
  maxReplicas: 5
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  behavior: {scaleDown: {stabilizationWindowSeconds: 60}}
  metrics:
  - {type: Pods, pods: {metric: {name: requests}, target: {type: AverageValue, averageValue: "10"}}}
  - {type: Object, object: {metric: {name: depth}, describedObject: {kind: Service, name: q}, target: {type: Value, value: "3"}}}
  - {type: External, external: {metric: {name: backlog, selector: {matchLabels: {a: b}}}, target: {type: AverageValue, averageValue: "7"}}}
  - {type: ContainerResource, containerResource: {name: memory, container: web, target: {type: AverageValue, averageValue: 1Gi}}}
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}
status:
  currentReplicas: 3
  conditions: [{type: AbleToScale, status: "True", lastTransitionTime: "2026-01-01T00:00:00Z"}]
  currentMetrics:
  - {type: Pods, pods: {metric: {name: requests}, current: {averageValue: "4"}}}
  - {type: Resource, resource: {name: cpu, current: {averageUtilization: 30, averageValue: 300m}}}
`)
	v2.Default(full)
	old, err := k.FromStored(t.Context(), []kind.Instance{v2.Copy(full)})
	require.NoError(t, err)
	v1 := old[0].(*autoscalingv1.HorizontalPodAutoscaler)
	require.Equal(t, int32(50), *v1.Spec.TargetCPUUtilizationPercentage)
	require.Equal(t, int32(30), *v1.Status.CurrentCPUUtilizationPercentage)
	require.Len(t, v1.Annotations, 5)
	again, err := k.ToStored(t.Context(), v1)
	require.NoError(t, err)
	want, err := json.Marshal(full)
	require.NoError(t, err)
	got, err := json.Marshal(again)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(got))

	// Columns and rules are the stored version's.
	require.Contains(t, row(k, v1, noon, true), "Deployment/web | 4/10, <unknown>/3 + 3 more... | 2 | 5 | 3")
	v1.Spec.MaxReplicas = 1
	contains(t, k.Validate(v1, nil), []string{"spec.maxReplicas: Invalid value: 1: must be greater than or equal to `minReplicas`"})
}

const newEvent = "apiVersion: events.k8s.io/v1\nkind: Event\nmetadata: {name: web.1}\neventTime: '2026-01-01T11:59:00.000000Z'\ntype: Normal\nreason: Started\naction: Start\nnote: it runs\n" +
	"regarding: {kind: Pod, namespace: default, name: web}\nreportingController: example.com/agent\nreportingInstance: n1\n"

func TestNewEvents(t *testing.T) {
	k, obj := object(t, newEvent)
	require.Empty(t, texts(pass(k, obj, nil)))
	stored, back := there(t, k, obj)
	require.Equal(t, obj, back)
	core, _ := object(t, "apiVersion: v1\nkind: Event\nmetadata: {name: a}\n")
	require.Equal(t, core.GroupVersionKind(), stored.GetObjectKind().GroupVersionKind())
	require.Equal(t, "web", core.Fields["involvedObject.name"](stored))
	require.Equal(t, "web", k.Fields["regarding.name"](obj))
	require.Equal(t, row(core, stored, noon, true), row(k, obj, noon, true))
	for _, r := range []rule{
		{"{eventTime: null}", []string{"eventTime: Required value"}},
		{"{type: Loud}", []string{`type: Invalid value: "": has invalid value: Loud`}},
		{"{reason: '', action: '', reportingInstance: ''}", []string{"reason: Required value", "action: Required value", "reportingInstance: Required value"}},
		{"{reportingController: null}", []string{"reportingController: Required value", `reportingController: Invalid value: ""`, `reportingController: Invalid value: ""`}},
		{"{deprecatedCount: 2}", []string{`count: Invalid value: "": needs to be unset`}},
		{"{series: {count: 1, lastObservedTime: null}}", []string{`series.count: Invalid value: "": should be at least 2`, "series.lastObservedTime: Required value"}},
	} {
		contains(t, pass(k, patched(t, k, obj, r.patch), nil), r.want)
	}
	contains(t, pass(k, patched(t, k, obj, "{note: other}"), obj), []string{`message: Invalid value: "other": field is immutable`})
	contains(t, pass(k, patched(t, k, obj, "{series: {count: 3, lastObservedTime: '2026-01-01T12:00:00.000000Z'}}"), obj), nil)
}
