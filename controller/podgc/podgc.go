package podgc

import (
	"time"

	"github.com/keelson-dev/keelson/controller"
)

// Config adjusts the controller.
type Config struct {
	TerminatedThreshold int           // how many ended pods may stay; 0 means 12500, less than 0 any number
	CheckEvery          time.Duration // how often all pods are looked at; 0 means 20 s
	Quarantine          time.Duration // how long a node must be missing before its pods are deleted; 0 means 40 s
}

// New registers the controller with a manager.
func New(m *controller.Manager, cfg Config) error {
	return nil
}
