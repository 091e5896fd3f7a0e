package process_test

import (
	"context"
	"fmt"
	"os"

	"github.com/keelson-dev/keelson/runtime/process"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func ExampleRuntime() {
	// process.Main() is the first thing that main, here TestMain, calls.
	root, _ := os.MkdirTemp("", "keelson-example-")
	defer os.RemoveAll(root)
	ctx := context.Background()
	rt, err := process.New(process.Config{Root: root})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rt.Close(ctx)

	pod, err := rt.RunPodSandbox(ctx, &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "web", Namespace: "default", Uid: "1"},
	}, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rt.RemovePodSandbox(ctx, pod)
	container, err := rt.CreateContainer(ctx, pod, &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "server"},
		Command:  []string{"sleep", "1000"},
		Envs:     []*runtimeapi.KeyValue{{Key: "GREETING", Value: []byte("hello")}},
	}, nil)
	if err == nil {
		err = rt.StartContainer(ctx, container)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	out, _, err := rt.ExecSync(ctx, container, []string{"sh", "-c", "echo $GREETING"}, 0)
	fmt.Printf("%s%v\n", out, err)
	// Output:
	// hello
	// <nil>
}

func ExampleResolverFunc() {
	images := process.ResolverFunc(func(ctx context.Context, name string) (process.Image, error) {
		if name != "example.com/greeter" {
			return process.Image{}, fmt.Errorf("no image is called %s", name)
		}
		return process.Image{Entrypoint: []string{"echo"}, Cmd: []string{"hello"}}, nil
	})
	image, err := images.Resolve(context.Background(), "example.com/greeter")
	fmt.Println(image.Entrypoint, image.Cmd, err)
	// Output: [echo] [hello] <nil>
}
