package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/wal"
)

// The environment of the child whose writes are traced: its directory, and its log store.
const (
	tracedEnv    = "KEELSON_STORE_TEST_TRACED"
	tracedLogEnv = "KEELSON_STORE_TEST_TRACED_LOG"
	openOnly     = "open only: "
)

// openLogs are the log stores that there are.
func openLogs() map[string]func(string) (store.LogStore, error) {
	return map[string]func(string) (store.LogStore, error){
		"bolt": store.OpenBoltLog, "wal": wal.Config{SegmentBytes: 64 << 10}.Open, "default": nil,
	}
}

// tracedValue is what is put under a key.
func tracedValue(caller, n int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%d/%d ", caller, n), 1+(caller*31+n*97)%400)
}

// tracedWriter is TestMain's child: it says what it proposes and what was acknowledged.
func tracedWriter(dir, logs string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Dir: dir, OpenLog: openLogs()[logs]})
	if err != nil {
		return err
	}
	fmt.Println("open")
	var all sync.WaitGroup
	errs := make([]error, 3)
	for caller := range errs {
		all.Go(func() {
			for n := range 30 {
				key := fmt.Sprintf("%d/%d", caller, n)
				fmt.Println("propose", key)
				res, err := s.Put(ctx, store.PutRequest{Key: []byte(key), Value: tracedValue(caller, n)})
				if err != nil {
					errs[caller] = err
					return
				}
				fmt.Println("ack", key, res.Revision)
			}
		})
	}
	all.Wait()
	fmt.Println("close")
	return errors.Join(append(errs, s.Close())...)
}

// tracedOpener is TestMain's child too: it only opens the log store, and says when it has.
func tracedOpener(dir, logs string) error {
	s, err := openLogs()[logs](dir)
	if err != nil {
		return err
	}
	fmt.Println("open")
	return s.Close()
}

// runTraced is for TestMain.
func runTraced() {
	if dir := os.Getenv(tracedEnv); dir != "" {
		run, logs := tracedWriter, os.Getenv(tracedLogEnv)
		if only, ok := strings.CutPrefix(logs, openOnly); ok {
			run, logs = tracedOpener, only
		}
		if err := run(dir, logs); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}
