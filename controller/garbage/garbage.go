package garbage

import (
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// Config adjusts the controller.
type Config struct {
	Kinds   *kind.Set // the kinds that the server serves; required
	Workers int       // how many objects are looked at side by side; 0 means 8
}

// New registers the controller with a manager.
func New(m *controller.Manager, cfg Config) error {
	return nil
}
