package store_test

import (
	"testing"

	"github.com/keelson-dev/keelson/store/storetest"
)

func TestLeader(t *testing.T) { storetest.Run(t, storetest.Leader) }

func TestFollower(t *testing.T) { storetest.Run(t, storetest.Follower) }
