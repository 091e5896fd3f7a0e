package kind_test

import (
	"errors"
	"fmt"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// What a server has to know of a kind beside its type is a Strategy.
func ExampleStrategy() {
	type fleet = kind.Object[fleetSpec, fleetStatus]
	fleets := kind.Must(kind.Define[fleetSpec, fleetStatus]("games.example.com/v1", "Fleet")).With(kind.Strategy{
		Status: true, // clients write spec and status apart
		Default: func(obj kind.Instance) {
			if f := obj.(*fleet); f.Spec.Size == 0 {
				f.Spec.Size = 1
			}
		},
		Validate: func(obj, _ kind.Instance) field.ErrorList {
			if f := obj.(*fleet); f.Spec.Size > 100 {
				return field.ErrorList{field.Invalid(field.NewPath("spec", "size"), f.Spec.Size, "must be at most 100")}
			}
			return nil
		},
		Scale: &kind.Scale{ // kubectl scale
			Get: func(obj kind.Instance) autoscalingv1.Scale {
				return autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: obj.(*fleet).Spec.Size}}
			},
			Set: func(obj kind.Instance, replicas int32) { obj.(*fleet).Spec.Size = replicas },
		},
		Columns: []kind.Column{ // kubectl get
			{Name: "Ready", Type: "integer", Cell: func(obj kind.Instance, _ time.Time) any { return obj.(*fleet).Status.Ready }},
		},
	})

	f := fleets.New()
	fleets.Kind().Default(f)
	fmt.Println(f.Spec.Size)
	fleets.Kind().Scale.Set(f, 500)
	fmt.Println(fleets.Kind().Validate(f, nil).ToAggregate())
	// Output:
	// 1
	// spec.size: Invalid value: 500: must be at most 100
}

// Describe takes a struct as it is, for kinds that don't fit spec and status.
func ExampleDescribe() {
	bares, err := kind.Describe[*bare](kind.Kind{Group: "words.example.com", Version: "v1", Name: "Bare", Plural: "bares", Namespaced: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	b := bares.New()
	b.Name, b.Words = "greeting", [][]string{{"hello", "world"}}
	stored, err := bares.Kind().Encode(b)
	fmt.Println(bares.Kind(), err)
	again, err := bares.Kind().Decode(stored)
	fmt.Println(again.(*bare).Words, err)
	// Output:
	// bares.words.example.com <nil>
	// [[hello world]] <nil>
}

// A Type copies deeply: what a client returned is shared and must not be changed.
func ExampleType() {
	shared := kind.ConfigMap.New()
	shared.Name, shared.Data = "settings", map[string]string{"colour": "blue"}
	mine := kind.ConfigMap.Copy(shared)
	mine.Data["colour"] = "red"
	fmt.Println(shared.Data["colour"], mine.Data["colour"])
	// Output: blue red
}

// Strict decoding names what it does not know.
func ExampleStrictError() {
	kinds, err := kind.NewSet(kind.Pod.Kind())
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = kinds.DecodeManifest([]byte("{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {nodename: rack-1}}"))
	var strict *kind.StrictError
	fmt.Println(errors.As(err, &strict))
	fmt.Println(err)
	// Output:
	// true
	// manifest document 1: strict decoding: unknown field "spec.nodename"
}
