package controllertest_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/controller/controllertest"
)

// Each example is the body of a test; t stands for the *testing.T that a test has.

func ExampleNew() {
	t := newT()
	defer t.end()

	cp := controllertest.New(t, controllertest.Kinds(greetings.Kind()))
	addGreeter(t, cp.Manager) // the controller under test
	cp.Start()
	cp.Apply(`{apiVersion: example.com/v1, kind: Greeting, metadata: {name: one}, spec: {name: world}}`)
	cp.Idle() // every controller has done all there is to do
	fmt.Println(controllertest.Get(cp, kind.ConfigMap, "default", "one").Data["words"])
	// Output: hello world
}

// A controller that gives up after the first conflict fails this test; one that tries again does not notice.
func ExampleFaults() {
	t := newT()
	defer t.end()

	cp := controllertest.New(t, controllertest.Kinds(greetings.Kind()))
	addGreeter(t, cp.Manager)
	conflicts := cp.Faults.Inject(controllertest.Fault{
		Verb: client.Update, Kind: greetings.Kind(), Subresource: "status", Count: 2, Conflict: true,
	})
	cp.Start()
	cp.Apply(`{apiVersion: example.com/v1, kind: Greeting, metadata: {name: one}, spec: {name: world}}`)
	greeted := controllertest.WaitFor(cp, greetings, "default", "one", func(g *greeting) bool { return g.Status.Words != "" })
	fmt.Println(greeted.Status.Words, "after", conflicts.Hits(), "conflicts")
	// Output: hello world after 2 conflicts
}

// Controllers that wait for pods get a stand-in for the nodes.
func ExampleAddNodeAgent() {
	t := newT()
	defer t.end()

	cp := controllertest.New(t)
	controllertest.AddNodeAgent(cp, controllertest.NodeAgent{})
	cp.Start()
	cp.Apply(`
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {nodeName: rack-1, containers: [{name: web, image: web}]}
`)
	pod := controllertest.WaitFor(cp, kind.Pod, "default", "web", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	fmt.Println(pod.Name, "runs on", pod.Spec.NodeName)
	// Output: web runs on rack-1
}

// A manager that takes part in an election leads as soon as it holds the lease.
func ExampleElected() {
	t := newT()
	defer t.end()

	cp := controllertest.New(t, controllertest.Elected(controller.LeaderElection{Name: "greeter"}))
	cp.Start()
	<-cp.Manager.Leading()
	page, err := client.For(cp.Client, kind.Lease).List(cp.Context(), client.InNamespace("kube-system"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, lease := range page.Items {
		fmt.Println(lease.Name)
	}
	// Output: greeter
}

// fakeT is as much of a test as a control plane needs, for examples, which have none.
type fakeT struct {
	testing.TB
	cleanups []func()
}

func newT() *fakeT { return &fakeT{} }

func (*fakeT) Helper()                           {}
func (*fakeT) Context() context.Context          { return context.Background() }
func (t *fakeT) Cleanup(f func())                { t.cleanups = append(t.cleanups, f) }
func (*fakeT) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (*fakeT) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (*fakeT) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (*fakeT) FailNow()                          { panic("failed") }

func (t *fakeT) end() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}
