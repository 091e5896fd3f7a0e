package kubelet_test

import (
	"context"
	"fmt"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/kubelet"
	"github.com/keelson-dev/keelson/runtime/runtimetest"
)

// nowhere is a client without a control plane behind it.
type nowhere struct{ client.Client }

func ExampleNew() {
	rt := runtimetest.New(runtimetest.Config{})
	_, err := kubelet.New(nowhere{}, rt, kubelet.Config{NodeName: "Node 1", Root: "/var/lib/keelson"})
	fmt.Println(err)
	_, err = kubelet.New(nowhere{}, rt, kubelet.Config{NodeName: "node-1"})
	fmt.Println(err)
	// Output:
	// kubelet: Config.NodeName "Node 1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
	// kubelet: Config.Root is required: the directory for volumes and logs
}

func ExampleKubelet_StopPods() {
	k, err := kubelet.New(nowhere{}, runtimetest.New(runtimetest.Config{}), kubelet.Config{NodeName: "node-1", Root: "/var/lib/keelson"})
	if err != nil {
		fmt.Println(err)
		return
	}
	// Without a running agent, what the runtime has is stopped directly: here, nothing.
	fmt.Println(k.StopPods(context.Background()))
	// Output: <nil>
}
