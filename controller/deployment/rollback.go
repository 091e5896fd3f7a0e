package deployment

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// Rollback gives a Deployment the pod template that it had at a revision, and its annotations of that time, such as
// the change cause; 0 means the revision before the present. It is what kubectl rollout undo does: the rollout itself
// is the controller's. It is an error when that revision is not kept any more, or the Deployment is paused.
func Rollback(ctx context.Context, c client.Client, namespace, name string, revision int64) error {
	deployments := client.For(c, kind.Deployment)
	d, err := deployments.Get(ctx, namespace, name)
	if err != nil {
		return err
	}
	if d.Spec.Paused {
		return fmt.Errorf("roll back deployment %s/%s: it is paused; resume it first", namespace, name)
	}
	page, err := client.For(c, kind.ReplicaSet).List(ctx, client.InNamespace(namespace))
	if err != nil {
		return err
	}
	var sets []*appsv1.ReplicaSet
	for _, rs := range page.Items {
		if controller.OwnedBy(rs, d) {
			sets = append(sets, rs)
		}
	}
	target, err := revisionSet(d, sets, revision)
	if err != nil {
		return fmt.Errorf("roll back deployment %s/%s: %w", namespace, name, err)
	}
	_, err = deployments.Mutate(ctx, namespace, name, func(now *appsv1.Deployment) error {
		if now.UID != d.UID {
			return fmt.Errorf("roll back deployment %s/%s: it was replaced meanwhile", namespace, name)
		}
		if sameTemplate(&target.Spec.Template, &now.Spec.Template) {
			return nil
		}
		kept := make(map[string]string)
		for k, v := range now.Annotations {
			if bookkeeping(k) {
				kept[k] = v
			}
		}
		for k, v := range target.Annotations {
			if !bookkeeping(k) {
				kept[k] = v
			}
		}
		now.Annotations = kept
		template := target.Spec.Template.DeepCopy()
		delete(template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
		now.Spec.Template = *template
		return nil
	})
	return err
}

// revisionSet finds the set of a revision, or with 0 the newest that is not of the present template.
func revisionSet(d *appsv1.Deployment, sets []*appsv1.ReplicaSet, revision int64) (*appsv1.ReplicaSet, error) {
	var best *appsv1.ReplicaSet
	for _, rs := range sets {
		switch {
		case revision != 0 && revisionOf(rs) == revision:
			return rs, nil
		case revision == 0 && !sameTemplate(&rs.Spec.Template, &d.Spec.Template) && (best == nil || revisionOf(rs) > revisionOf(best)):
			best = rs
		}
	}
	switch {
	case best != nil:
		return best, nil
	case revision != 0:
		return nil, fmt.Errorf("revision %d is not in its history", revision)
	}
	return nil, fmt.Errorf("it has no earlier revision")
}
