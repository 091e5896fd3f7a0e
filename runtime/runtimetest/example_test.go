package runtimetest_test

import (
	"context"
	"errors"
	"fmt"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/keelson-dev/keelson/runtime/runtimetest"
)

// A runtime that lies about a call has done what it says it has not: agents have to look before they try again.
func ExampleFault() {
	ctx := context.Background()
	rt := runtimetest.New(runtimetest.Config{})
	defer rt.Close(ctx)
	rt.SetFault(func(c runtimetest.Call) runtimetest.Fault {
		if c.Method == "RunPodSandbox" {
			return runtimetest.Fault{Lie: errors.New("connection reset")}
		}
		return runtimetest.Fault{}
	})
	_, err := rt.RunPodSandbox(ctx, &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "web", Namespace: "default"}}, "")
	fmt.Println(err)
	rt.SetFault(nil)
	all, err := rt.ListPodSandbox(ctx, nil)
	fmt.Println(len(all), err)
	// Output:
	// connection reset
	// 1 <nil>
}

// A behavior says how a container's main process fares.
func ExampleBehavior() {
	ctx := context.Background()
	rt := runtimetest.New(runtimetest.Config{Behave: func(p runtimetest.Process) runtimetest.Behavior {
		if p.Container == "broken" {
			return runtimetest.Behavior{StartError: "executable file not found"}
		}
		return runtimetest.Behavior{}
	}})
	defer rt.Close(ctx)
	pod, err := rt.RunPodSandbox(ctx, &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "web", Namespace: "default"}}, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, name := range []string{"server", "broken"} {
		id, err := rt.CreateContainer(ctx, pod, &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: name}}, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(name, rt.StartContainer(ctx, id) == nil)
	}
	// Output:
	// server true
	// broken false
}
