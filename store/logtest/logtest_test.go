package logtest_test

import (
	"testing"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/logtest"
)

func TestBolt(t *testing.T) { logtest.RunLogStore(t, store.OpenBoltLog) }
