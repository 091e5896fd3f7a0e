package store_test

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keelson-dev/keelson/store"
)

// A probe asks for Health with a time-out. Metrics go to a registry of the program's own.
func ExampleHealth() {
	ctx := context.Background()
	registry := prometheus.NewRegistry()
	s, err := store.Open(ctx, store.Config{Metrics: registry, QuotaBytes: 1000})
	if err != nil {
		panic(err)
	}
	defer s.Close()
	if _, err := s.Put(ctx, store.PutRequest{Key: []byte("key"), Value: []byte("value")}); err != nil {
		panic(err)
	}
	probe, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	health := s.Health(probe)
	fmt.Println(health.Err())
	fmt.Println(len(health.Alarms), "alarms")
	families, err := registry.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		if f.GetName() == "keelson_store_keys" {
			fmt.Println(f.GetName(), f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	// Output:
	// <nil>
	// 0 alarms
	// keelson_store_keys 1
}
