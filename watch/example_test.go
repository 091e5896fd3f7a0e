package watch_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/keelson-dev/keelson/watch"
)

func Example() {
	log, err := watch.New(watch.Config[string]{MaxEvents: 1000})
	if err != nil {
		fmt.Println(err)
		return
	}
	cursor, err := log.Open(1, watch.Selector{Prefix: "/pods/"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cursor.Close()
	log.Append(1, []watch.Event[string]{{Key: "/pods/a", Value: "created"}, {Key: "/nodes/n", Value: "created"}})
	log.Append(2, []watch.Event[string]{{Key: "/nodes/n", Value: "changed"}})
	log.Append(3, []watch.Event[string]{{Key: "/pods/a", Value: "deleted"}})
	events, revision, err := cursor.Next(context.Background())
	for _, e := range events {
		fmt.Println(e.Revision, e.Key, e.Value)
	}
	fmt.Println("seen everything up to", revision, err)
	// Output:
	// 1 /pods/a created
	// 3 /pods/a deleted
	// seen everything up to 3 <nil>
}

func ExampleCursor_Progress() {
	log, _ := watch.New(watch.Config[string]{})
	cursor, _ := log.Open(0, watch.Selector{Key: "/pods/a"})
	defer cursor.Close()
	log.Append(7, []watch.Event[string]{{Key: "/pods/b"}})
	cursor.Progress()
	events, revision, _ := cursor.Next(context.Background())
	fmt.Println(len(events), revision)
	// Output: 0 7
}

func ExampleCompactedError() {
	log, _ := watch.New(watch.Config[string]{MaxEvents: 1})
	log.Append(1, []watch.Event[string]{{Key: "/a"}})
	log.Append(2, []watch.Event[string]{{Key: "/b"}})
	_, err := log.Open(1, watch.Selector{})
	var compacted *watch.CompactedError
	fmt.Println(errors.Is(err, watch.ErrCompacted), errors.As(err, &compacted), compacted.CompactRevision)
	// Output: true true 1
}
