package store_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/keelson-dev/keelson/store/storetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		fmt.Fprintln(os.Stderr, writer(dir))
		os.Exit(1)
	}
	runTraced()
	goleak.VerifyTestMain(m)
}

func TestMemory(t *testing.T) { storetest.Run(t, storetest.Memory) }

func TestDurable(t *testing.T) { storetest.Run(t, storetest.Durable) }
