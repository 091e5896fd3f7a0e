//go:build !linux

package nftables

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"

	"go.uber.org/zap"

	"github.com/keelson-dev/keelson/proxy"
)

// Config adjusts a dataplane; on Linux it has more fields.
type Config struct {
	Table    string
	PodCIDRs []netip.Prefix
	Logger   *zap.Logger
}

// Dataplane exists on Linux only.
type Dataplane struct{}

var _ proxy.Dataplane = (*Dataplane)(nil)

// New is an error: nftables is Linux'.
func New(Config) (*Dataplane, error) {
	return nil, fmt.Errorf("%w: it is not supported on %s", ErrUnsupported, runtime.GOOS)
}

// Apply is never reached.
func (d *Dataplane) Apply(context.Context, proxy.Table) error { return ErrUnsupported }

// Remove is never reached.
func (d *Dataplane) Remove(context.Context) error { return ErrUnsupported }

// Close does nothing.
func (d *Dataplane) Close() error { return nil }
