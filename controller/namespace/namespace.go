package namespace

import (
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// Config adjusts the controller.
type Config struct {
	Kinds   *kind.Set // the kinds that the server serves; required
	Workers int       // how many Namespaces are emptied side by side; 0 means 2
}

// New registers the controller with a manager.
func New(m *controller.Manager, cfg Config) error {
	return nil
}
