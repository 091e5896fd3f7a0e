package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/bench/internal/measure"
)

// prepare makes what pods need to be admitted: namespaces with the default service account, which a controller would make.
func prepare(ctx context.Context, d *dialed) error {
	for _, name := range []string{namespace, watchedNamespace} {
		_, err := d.of(0).Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
		if _, err := d.of(0).ServiceAccounts(name).Create(ctx, account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

// fill creates pods from..to with their status.
func fill(ctx context.Context, d *dialed, from, to int) error {
	_, err := measure.Each(ctx, 16, to-from, func(ctx context.Context, caller, i int) error {
		return fillOne(ctx, d, caller, namespace, from+i)
	})
	return err
}

func fillOne(ctx context.Context, d *dialed, caller int, in string, i int) error {
	pods := d.of(caller).Pods(in)
	pod, err := pods.Create(ctx, newPod(in, podName(i), i, true), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	setRunning(pod, i)
	_, err = pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return err
}

// requester makes the requests for one object to one server over one set of clients.
type requester struct {
	dialed *dialed
	pods   int
	kind   string
	owned  [][]*corev1.Pod // by caller: what it updates
	made   [][]string      // by caller: what it has created and not deleted
	rounds int
}

func newRequester(kind string, d *dialed, callers, pods int) *requester {
	return &requester{kind: kind, dialed: d, pods: pods, owned: make([][]*corev1.Pod, callers), made: make([][]string, callers)}
}

// answered checks that an answer is a pod; the floor's is always the same one.
func (q *requester) answered(pod *corev1.Pod, name string, err error) error {
	if err != nil {
		return err
	}
	if q.kind != floorKind && pod.Name != name || pod.UID == "" {
		return fmt.Errorf("bench: %q was asked for, and %q answered", name, pod.Name)
	}
	return nil
}

// run is a round of a verb. Deletes are of all that was created and not deleted before.
func (q *requester) run(ctx context.Context, verb string, callers int, d time.Duration) (measure.Sample, error) {
	q.rounds++
	switch verb {
	case "create":
		return q.create(ctx, callers, d)
	case "delete":
		var names []string
		for i, made := range q.made {
			names = append(names, made...)
			q.made[i] = nil
		}
		now := int64(0)
		return measure.Each(ctx, callers, len(names), func(ctx context.Context, caller, i int) error {
			return q.dialed.of(caller).Pods(namespace).Delete(ctx, names[i], metav1.DeleteOptions{GracePeriodSeconds: &now})
		})
	case "get":
		return measure.Drive(ctx, callers, d, 1, func(ctx context.Context, caller int, r *rand.Rand) error {
			name := podName(r.IntN(q.pods))
			pod, err := q.dialed.of(caller).Pods(namespace).Get(ctx, name, metav1.GetOptions{})
			return q.answered(pod, name, err)
		})
	case "update":
		return q.update(ctx, callers, d)
	case "patch":
		return measure.Drive(ctx, callers, d, 1, func(ctx context.Context, caller int, r *rand.Rand) error {
			name := podName(r.IntN(q.pods))
			patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"bench/patched":"%d"}}}`, r.Uint64())
			pod, err := q.dialed.of(caller).Pods(namespace).Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			return q.answered(pod, name, err)
		})
	}
	return measure.Sample{}, fmt.Errorf("bench: no verb %q", verb)
}

func (q *requester) create(ctx context.Context, callers int, d time.Duration) (measure.Sample, error) {
	round := q.rounds
	return measure.Drive(ctx, callers, d, 1, func(ctx context.Context, caller int, r *rand.Rand) error {
		n := len(q.made[caller])
		name := fmt.Sprintf("new-%d-%d-%d-%d", callers, round, caller, n)
		pod, err := q.dialed.of(caller).Pods(namespace).Create(ctx, newPod(namespace, name, n, false), metav1.CreateOptions{})
		q.made[caller] = append(q.made[caller], name)
		return q.answered(pod, name, err)
	})
}

// own gives each caller pods that nobody else updates, in the version that they have now.
func (q *requester) own(ctx context.Context) error {
	callers := len(q.owned)
	each := min(4, q.pods/callers)
	if each == 0 {
		return fmt.Errorf("bench: %d pods for %d callers", q.pods, callers)
	}
	for caller := range callers {
		q.owned[caller] = nil
		for i := range each {
			pod, err := q.dialed.of(caller).Pods(namespace).Get(ctx, podName(caller*each+i), metav1.GetOptions{})
			if err != nil {
				return err
			}
			q.owned[caller] = append(q.owned[caller], pod)
		}
	}
	return nil
}

// update has each caller change its pods, in the version that it saw last.
func (q *requester) update(ctx context.Context, callers int, d time.Duration) (measure.Sample, error) {
	return measure.Drive(ctx, callers, d, 1, func(ctx context.Context, caller int, r *rand.Rand) error {
		mine := &q.owned[caller][r.IntN(len(q.owned[caller]))]
		pod := *mine
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations["bench/updated"] = fmt.Sprint(r.Uint64())
		updated, err := q.dialed.of(caller).Pods(namespace).Update(ctx, pod, metav1.UpdateOptions{})
		*mine = updated
		return q.answered(updated, pod.Name, err)
	})
}
