package client_test

import (
	"context"
	"fmt"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

func ExampleTyped() {
	ctx := context.Background()
	s, stop, err := serve(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fleets := client.For(s.Client(authn.System("demo")), fleets)
	f, err := fleets.Create(ctx, newFleet("lobby", 3))
	fmt.Println(f.Name, f.Spec.Size, err)
	f, err = fleets.Mutate(ctx, "default", "lobby", func(f *fleet) error { f.Spec.Size = 5; return nil })
	fmt.Println(f.Name, f.Spec.Size, err)
	fmt.Println(fleets.Delete(ctx, "default", "lobby"), stop())
	// Output:
	// lobby 3 <nil>
	// lobby 5 <nil>
	// <nil> <nil>
}

// A snapshot and the watcher that continues it see every object once.
func ExampleOpen() {
	ctx := context.Background()
	s, stop, err := serve(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	c := s.Client(authn.System("demo"))
	_, err = client.For(c, fleets).Create(ctx, newFleet("lobby", 3))
	fmt.Println(err)
	view, err := client.Open(ctx, c, &client.Request{Verb: client.List, Kind: fleets.Kind(), Namespace: "default"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, item := range view.Items {
		fmt.Println("there is", item.GetName())
	}
	_, err = client.For(c, fleets).Create(ctx, newFleet("duel", 2))
	fmt.Println(err)
	e, err := view.Watcher.Next(ctx)
	fmt.Println(e.Type, e.Object.GetName(), err)
	fmt.Println(view.Watcher.Close(), stop())
	// Output:
	// <nil>
	// there is lobby
	// <nil>
	// ADDED duel <nil>
	// <nil> <nil>
}

func ExampleApply() {
	ctx := context.Background()
	s, stop, err := serve(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	c := s.Client(authn.System("demo"))
	kinds, err := kind.NewSet(builtin.Kinds()...)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, data := range []string{"{colour: blue}", "{shape: round}"} {
		out, err := client.Apply(ctx, c, kinds, []byte("{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: "+data+"}"))
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(out[0].GetNamespace(), out[0].GetName())
	}
	settings, err := client.For(c, kind.ConfigMap).Get(ctx, "default", "settings")
	fmt.Println(settings.Data, err, stop())
	// Output:
	// default settings
	// default settings
	// map[colour:blue shape:round] <nil> <nil>
}

// A Client is two methods, so one that changes what others do is short: this one allows reading only.
func ExampleClient() {
	ctx := context.Background()
	s, stop, err := serve(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	readOnly := plain{s.Client(authn.System("demo")), func(req *client.Request) error {
		if req.Verb != client.Get && req.Verb != client.List {
			return fmt.Errorf("%s %s: only reading is allowed here", req.Verb, req.Kind)
		}
		return nil
	}}
	_, err = client.For(readOnly, fleets).Create(ctx, newFleet("lobby", 3))
	fmt.Println(err)
	page, err := client.For(readOnly, fleets).List(ctx)
	fmt.Println(len(page.Items), err, stop())
	// Output:
	// create fleets.games.example.com: only reading is allowed here
	// 0 <nil> <nil>
}
