package controller_test

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// A predicate keeps changes from a source: here all but those of the spec or of one label.
func ExamplePredicate() {
	tier := controller.Where(func(old, now *corev1.Pod) bool {
		return old != nil && now != nil && old.Labels["tier"] != now.Labels["tier"]
	})
	matters := controller.Any(controller.GenerationChanged, tier)

	old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "1", Generation: 1}}
	status, label := kind.Pod.Copy(old), kind.Pod.Copy(old)
	status.Status.Phase = corev1.PodRunning
	label.Labels = map[string]string{"tier": "front"}
	fmt.Println(matters(old, status), matters(old, label), matters(nil, old))
	// Output: false true true
}

func ExampleParseKey() {
	fmt.Println(controller.ParseKey("default/web").Name, controller.ParseKey("rack-1").Name)
	// Output: web rack-1
}

// Causes say in one line why a reconcile ran; inside it, Trigger gives them.
func ExampleCauses() {
	fmt.Println(controller.Causes{
		{Reason: controller.Updated, Kind: "Pod", Object: controller.ParseKey("default/web-1")},
		{Reason: controller.Retried},
	})
	// Output: Pod default/web-1 updated, retried
}

func ExampleSideBySide() {
	squares := make([]int, 4)
	err := controller.SideBySide(len(squares), func(i int) error {
		if squares[i] = i * i; i >= 2 {
			return fmt.Errorf("number %d is refused", i)
		}
		return nil
	})
	fmt.Println(squares, err)
	// Output: [0 1 4 9] number 2 is refused
}

// An error that trying again can't cure is terminal: the key waits for a change.
func ExampleTerminal() {
	cause := errors.New("the selector selects nothing")
	err := controller.Terminal(cause)
	fmt.Println(errors.Is(err, cause), err)
	// Output: true the selector selects nothing
}

func ExamplePodReady() {
	p := kind.Pod.New()
	since, ready := controller.PodReady(p)
	fmt.Println(ready, since.IsZero())
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(60, 0)}}
	since, ready = controller.PodReady(p)
	fmt.Println(ready, since.Unix(), controller.PodEnded(p))
	// Output:
	// false true
	// true 60 false
}
