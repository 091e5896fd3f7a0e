package deployment

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// Annotations that kubectl reads and writes.
const (
	RevisionAnnotation        = "deployment.kubernetes.io/revision"
	desiredReplicasAnnotation = "deployment.kubernetes.io/desired-replicas"
	maxReplicasAnnotation     = "deployment.kubernetes.io/max-replicas"
	historyAnnotation         = "deployment.kubernetes.io/revision-history"
)

// hash names a template. collisions makes another name when two templates got the same one.
func hash(t *corev1.PodTemplateSpec, collisions *int32) (string, error) {
	data, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("hash the pod template: %w", err)
	}
	h := fnv.New32a()
	_, _ = h.Write(data)
	if collisions != nil {
		_, _ = h.Write([]byte(strconv.Itoa(int(*collisions))))
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10)), nil
}

// sameTemplate compares templates without the label that a ReplicaSet adds.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	x, y := a.DeepCopy(), b.DeepCopy()
	delete(x.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(y.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return equality.Semantic.DeepEqual(x, y)
}

// newReplicaSet is the set for the Deployment's present template, with no replicas yet.
func newReplicaSet(d *appsv1.Deployment, revision int64) (*appsv1.ReplicaSet, error) {
	name, err := hash(&d.Spec.Template, d.Status.CollisionCount)
	if err != nil {
		return nil, err
	}
	template := *d.Spec.Template.DeepCopy()
	template.Labels = withLabel(template.Labels, name)
	selector := d.Spec.Selector.DeepCopy()
	selector.MatchLabels = withLabel(selector.MatchLabels, name)
	none := int32(0)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("%s-%s", d.Name, name), Namespace: d.Namespace, Labels: template.Labels,
			Annotations: withSizes(annotations(nil, d, revision), d),
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: &none, MinReadySeconds: d.Spec.MinReadySeconds, Selector: selector, Template: template},
	}
	controller.SetOwner(d, rs, kind.Deployment.Kind())
	return rs, nil
}

func withLabel(labels map[string]string, value string) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = make(map[string]string)
	}
	out[appsv1.DefaultDeploymentUniqueLabelKey] = value
	return out
}

// bookkeeping tells which annotations a Deployment and its sets don't pass to each other.
func bookkeeping(key string) bool {
	switch key {
	case corev1.LastAppliedConfigAnnotation, RevisionAnnotation, historyAnnotation, desiredReplicasAnnotation, maxReplicasAnnotation:
		return true
	}
	return false
}

// annotations are a set's at a revision: the Deployment's, and the bookkeeping. A set that comes back at a new
// revision keeps the former ones in its history.
func annotations(old map[string]string, d *appsv1.Deployment, revision int64) map[string]string {
	out := make(map[string]string)
	maps.Copy(out, old)
	for k, v := range d.Annotations {
		if !bookkeeping(k) {
			out[k] = v
		}
	}
	now := strconv.FormatInt(revision, 10)
	if former := out[RevisionAnnotation]; former != "" && former != now {
		if out[historyAnnotation] != "" {
			former = out[historyAnnotation] + "," + former
		}
		out[historyAnnotation] = former
	}
	out[RevisionAnnotation] = now
	return out
}

// withSizes notes for which size of the Deployment a set was scaled: see [plan].
func withSizes(annotations map[string]string, d *appsv1.Deployment) map[string]string {
	out := maps.Clone(annotations)
	if out == nil {
		out = make(map[string]string)
	}
	want := replicas(d.Spec.Replicas)
	out[desiredReplicasAnnotation] = strconv.Itoa(int(want))
	out[maxReplicasAnnotation] = strconv.Itoa(int(want + maxSurge(d)))
	return out
}

func revisionOf(obj kind.Instance) int64 {
	n, err := strconv.ParseInt(obj.GetAnnotations()[RevisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}
