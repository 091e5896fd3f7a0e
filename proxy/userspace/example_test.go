package userspace_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/proxy"
	"github.com/keelson-dev/keelson/proxy/userspace"
)

func Example() {
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = backend.Close() }()
	go func() {
		if conn, err := backend.Accept(); err == nil {
			_, _ = io.WriteString(conn, "hello")
			_ = conn.Close()
		}
	}()

	dp, err := userspace.New(userspace.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = dp.Close() }()
	probe, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
	if err != nil {
		fmt.Println(err)
		return
	}
	vip := netip.MustParseAddrPort(probe.Addr().String())
	_ = probe.Close()
	err = dp.Apply(context.Background(), proxy.Table{Rules: []proxy.Rule{{
		Name:       proxy.ServicePortName{Namespace: "default", Name: "greeter"},
		Protocol:   corev1.ProtocolTCP,
		ClusterIPs: []netip.AddrPort{vip},
		Internal:   []netip.AddrPort{netip.MustParseAddrPort(backend.Addr().String())},
	}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	conn, err := net.Dial("tcp", vip.String())
	if err != nil {
		fmt.Println(err)
		return
	}
	answer, err := io.ReadAll(conn)
	fmt.Println(string(answer), err)
	// Output: hello <nil>
}
