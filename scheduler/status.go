package scheduler

import (
	"context"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// refuse tells the user why a unit waits: an event, and for pods the PodScheduled condition.
func (s *Scheduler) refuse(ctx context.Context, u *Unit, reason, message string) {
	s.recorder.Event(u.Object, corev1.EventTypeWarning, "FailedScheduling", "%s", message)
	if !s.cfg.Workload.isPods() {
		return
	}
	want := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message}
	if has(u.Pod, want) {
		return
	}
	s.binding.Go(func() {
		_, err := client.For(s.client, kind.Pod).MutateStatus(ctx, u.key.Namespace, u.key.Name, func(p *corev1.Pod) error {
			if p.UID == u.Object.GetUID() && p.Spec.NodeName == "" {
				setCondition(p, want)
			}
			return nil
		})
		if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
			s.log.Info("writing the PodScheduled condition failed", zap.Stringer("unit", u.key), zap.Error(err))
		}
	})
}

func has(p *corev1.Pod, want corev1.PodCondition) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == want.Type {
			return c.Status == want.Status && c.Reason == want.Reason && c.Message == want.Message
		}
	}
	return false
}

func setCondition(p *corev1.Pod, want corev1.PodCondition) {
	want.LastTransitionTime = metav1.Now()
	for i, c := range p.Status.Conditions {
		if c.Type != want.Type {
			continue
		}
		if c.Status == want.Status {
			want.LastTransitionTime = c.LastTransitionTime
		}
		p.Status.Conditions[i] = want
		return
	}
	p.Status.Conditions = append(p.Status.Conditions, want)
}
