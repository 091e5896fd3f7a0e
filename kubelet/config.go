package kubelet

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/keelson-dev/keelson/kubelet/probe"
)

// Config configures a Kubelet. NodeName and Root are required.
type Config struct {
	// NodeName is the name of the Node that the agent registers and whose pods it runs.
	NodeName string

	// Root is the directory that holds volumes and container logs; it is created with mode 0755, so that containers of
	// any user reach their volumes. One agent at a time
	// may use it.
	Root string

	// Labels and Taints are given to the Node when it is registered; labels also when it exists already.
	Labels map[string]string
	Taints []corev1.Taint

	// Capacity is what the node offers. Nil means the machine's processors and memory; pods are added when missing.
	Capacity corev1.ResourceList

	// MaxPods is the pods resource when Capacity does not say; zero means 110.
	MaxPods int

	// Address is the node's InternalIP, and the host IP of its pods. Empty means 127.0.0.1.
	Address string

	// Port is where the API server finds Handler on Address; zero means that it is not served there.
	Port int32

	// ClusterDNS and ClusterDomain make the resolver configuration of pods with dnsPolicy ClusterFirst. Without
	// ClusterDNS pods get none; an empty domain means cluster.local.
	ClusterDNS    []netip.Addr
	ClusterDomain string

	// HeartbeatEvery is how often the node's Lease is renewed; zero means 10 s. A Lease lasts four times that.
	HeartbeatEvery time.Duration

	// StatusInterval is how often the Node's status is written when nothing changed; zero means 5 min.
	StatusInterval time.Duration

	// RelistEvery is how often the runtime is listed in case its events missed something; zero means 10 s.
	RelistEvery time.Duration

	// RuntimeTimeout bounds a call to the runtime, except pulls (PullTimeout) and what waits for a process by design (a
	// stop: its grace and this); zero means 2 min, and 15 s for lists and statuses.
	RuntimeTimeout time.Duration

	// PullTimeout bounds pulling an image; zero means 15 min.
	PullTimeout time.Duration

	// RestartDelay is the pause before the second restart of a container that keeps ending; it doubles up to
	// RestartDelayMax, and starts over when a container ran for RestartDelayReset. Zero means 10 s, 5 min, 10 min.
	RestartDelay, RestartDelayMax, RestartDelayReset time.Duration

	// Dial opens the connections of probes and lifecycle hooks to pods; nil means the network.
	Dial probe.DialFunc

	// Authorize decides about each request to Handler, except /healthz; nil lets everybody in, which only suits a
	// handler that nobody else reaches.
	Authorize func(*http.Request) error

	// Logger is where the agent reports; nil means nowhere.
	Logger *zap.Logger
}

func (c *Config) complete() error {
	if problems := validation.IsDNS1123Subdomain(c.NodeName); len(problems) > 0 {
		return fmt.Errorf("kubelet: Config.NodeName %q: %s", c.NodeName, problems[0])
	}
	if c.Root == "" {
		return errors.New("kubelet: Config.Root is required: the directory for volumes and logs")
	}
	root, err := filepath.Abs(c.Root)
	if err != nil {
		return fmt.Errorf("kubelet: Config.Root %q: %w", c.Root, err)
	}
	c.Root = root
	if c.Address == "" {
		c.Address = "127.0.0.1"
	}
	if _, err := netip.ParseAddr(c.Address); err != nil {
		return fmt.Errorf("kubelet: Config.Address %q: want an IP address", c.Address)
	}
	if c.Port < 0 || c.Port > 65535 {
		return fmt.Errorf("kubelet: Config.Port %d: want 0 to 65535", c.Port)
	}
	if c.MaxPods < 0 {
		return fmt.Errorf("kubelet: Config.MaxPods %d: want 0 or more", c.MaxPods)
	}
	if c.MaxPods == 0 {
		c.MaxPods = 110
	}
	if c.ClusterDomain == "" {
		c.ClusterDomain = "cluster.local"
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
	}{
		{"HeartbeatEvery", &c.HeartbeatEvery, 10 * time.Second},
		{"StatusInterval", &c.StatusInterval, 5 * time.Minute},
		{"RelistEvery", &c.RelistEvery, 10 * time.Second},
		{"RuntimeTimeout", &c.RuntimeTimeout, 2 * time.Minute},
		{"PullTimeout", &c.PullTimeout, 15 * time.Minute},
		{"RestartDelay", &c.RestartDelay, 10 * time.Second},
		{"RestartDelayMax", &c.RestartDelayMax, 5 * time.Minute},
		{"RestartDelayReset", &c.RestartDelayReset, 10 * time.Minute},
	} {
		if *d.value < 0 {
			return fmt.Errorf("kubelet: Config.%s is %v: want zero or more", d.name, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.zero
		}
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return nil
}

// queryTimeout bounds calls that only read.
func (c *Config) queryTimeout() time.Duration { return min(c.RuntimeTimeout, 15*time.Second) }
