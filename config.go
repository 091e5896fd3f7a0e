package keelson

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	goruntime "runtime"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/keelson-dev/keelson/apiserver/admission"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/controller/nodelifecycle"
	"github.com/keelson-dev/keelson/kubelet"
	"github.com/keelson-dev/keelson/proxy"
	kruntime "github.com/keelson-dev/keelson/runtime"
	"github.com/keelson-dev/keelson/runtime/process"
	"github.com/keelson-dev/keelson/scheduler"
	"github.com/keelson-dev/keelson/store"
)

// Part names a part of a cluster that Config.Without leaves out.
type Part uint

// The parts that a cluster has unless it is told otherwise.
const (
	Controllers Part = 1 << iota // the built-in controllers; Config.Controllers run all the same
	Scheduler
)

// Config says what a cluster consists of. The zero value is a control plane in memory without a socket or a node.
type Config struct {
	// DataDir keeps the cluster's state; it is created with mode 0700. Empty means in memory; then nodes keep what they
	// must in a temporary directory, and pods end with the cluster.
	DataDir string

	// Member makes this one of several control planes over one replicated store: any of them serves, and those that
	// are left go on when one fails. Nil means that this one is alone.
	Member *MemberConfig

	// Listen is the host:port of the HTTPS API, port 0 for a free one. Empty means no socket: only Client reaches it.
	Listen string

	// Hosts are further names and addresses that the API's certificate is to be valid for.
	Hosts []string

	// Tokens are bearer tokens that the HTTPS API accepts, with the user that each stands for.
	Tokens map[string]authn.User

	// Kinds are the application's own, beside the built-in ones.
	Kinds []*kind.Kind

	// Admission are the application's own admission functions, after the built-in ones.
	Admission []admission.Plugin

	// Without leaves parts out: keelson.Scheduler | keelson.Controllers. 0 means none.
	Without Part

	// Controllers are the application's own: each function registers one or more with the cluster's manager.
	Controllers []func(*controller.Manager) error

	// Stages are the application's own scheduler plugins, after the default ones.
	Stages []scheduler.Plugin

	// Scheduler adjusts the scheduler.
	Scheduler scheduler.Config

	// NodeLifecycle says when a node that went silent counts as lost, and when its pods are evicted.
	NodeLifecycle nodelifecycle.Config

	// EmbeddedNetwork gives pods and Services addresses on this machine's loopback; see the package comment. Nodes with
	// the process runtime and a Proxy without a dataplane imply it.
	EmbeddedNetwork bool

	// ServiceRange is where cluster IPs come from. The zero value means the embedded network's range, or 10.96.0.0/16
	// without one.
	ServiceRange netip.Prefix

	// Nodes run in this process with the cluster. More can join while it runs: see Cluster.NewNode.
	Nodes []NodeConfig

	// Proxy makes Services reachable from this machine; nil leaves it out.
	Proxy *ProxyConfig

	// DNS is the host:port of a name server for Services and pods, port 0 for a free one. Empty means none.
	DNS string

	// StopPods stops the pods of Nodes, within their grace periods, when Run ends. False leaves them running, for the
	// next Run to adopt. Without DataDir pods are stopped in any case: nobody could find them again.
	StopPods bool

	// Logger is where all parts report; nil means nowhere.
	Logger *zap.Logger
}

// MemberConfig says which of the control planes this one is. Its fields are those of store.Config; what is said there of
// majorities, certificates, and of how members come and go holds here too.
type MemberConfig struct {
	// Name is this member's, which no other has or had. Required.
	Name string

	// Peers are all members, this one among them, with the addresses at which their stores reach each other.
	Peers []store.Peer

	// Join makes a member with an empty DataDir wait until the others have added it, with Cluster.Store.
	Join bool

	// TLS has this member's certificate, valid for Name, and the authorities of all members' certificates. Nil means
	// no TLS between stores, which is for one machine only.
	TLS *tls.Config

	// Listener accepts the other members' stores, and Dial connects to them. Nil means TCP.
	Listener net.Listener
	Dial     func(ctx context.Context, addr string) (net.Conn, error)

	// Disk stands for DataDir in tests.
	Disk *store.MemoryDisk
}

// NodeConfig describes one node: an agent with its runtime, in this process.
type NodeConfig struct {
	// Name is the node's name, a DNS subdomain; required.
	Name string

	// Runtime runs the pods; nil means processes of this machine (package runtime/process).
	Runtime kruntime.Runtime

	// Images tells the process runtime what an image would bring; nil means that containers need a command.
	Images process.Resolver

	// Kubelet adjusts the agent: labels, taints, capacity, intervals. Its name, directory, address, port, authorization
	// and logger are set by the cluster.
	Kubelet kubelet.Config
}

// ProxyConfig says how Services are made reachable.
type ProxyConfig struct {
	// Dataplane carries the rules out; nil means userspace listeners on the embedded network. The cluster closes the
	// one that it made itself, and no other.
	Dataplane proxy.Dataplane
}

func (c *Config) completeMember() error {
	switch m := c.Member; {
	case m == nil:
		return nil
	case m.Name == "":
		return errors.New("keelson: Member: Name is empty")
	case c.DataDir == "" && m.Disk == nil:
		return errors.New("keelson: Member: DataDir is empty: a member must find again what it has promised to the others")
	case c.EmbeddedNetwork || c.Proxy != nil && c.Proxy.Dataplane == nil:
		return errors.New("keelson: Member: the embedded network is one machine's, and several control planes would each give out its addresses: give nodes a runtime, and Proxy a dataplane")
	}
	return nil
}

func (c *Config) complete() error {
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	for field, address := range map[string]string{"Listen": c.Listen, "DNS": c.DNS} {
		if address == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("keelson: %s: %q, want host:port such as 127.0.0.1:6443: %w", field, address, err)
		}
	}
	if all := Controllers | Scheduler; c.Without&^all != 0 {
		return fmt.Errorf("keelson: Without: %#x has bits that name no part", uint(c.Without))
	}
	if err := c.completeNodes(); err != nil {
		return err
	}
	if err := c.completeMember(); err != nil {
		return err
	}
	if c.Proxy != nil && c.Proxy.Dataplane == nil {
		c.EmbeddedNetwork = true
	}
	if c.EmbeddedNetwork && goruntime.GOOS != "linux" && c.Proxy != nil && c.Proxy.Dataplane == nil {
		return fmt.Errorf("keelson: Proxy: the userspace dataplane needs Linux's whole 127.0.0.0/8, and this is %s; give a Dataplane or leave Proxy nil", goruntime.GOOS)
	}
	if c.ServiceRange.IsValid() && (!c.ServiceRange.Addr().Is4() || c.ServiceRange.Bits() > 30) {
		return fmt.Errorf("keelson: ServiceRange: %s, want an IPv4 prefix of at most 30 bits", c.ServiceRange)
	}
	return nil
}

func (c *Config) completeNodes() error {
	names := make(map[string]bool, len(c.Nodes))
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if err := n.validate(); err != nil {
			return fmt.Errorf("keelson: Nodes[%d]: %w", i, err)
		}
		if names[n.Name] {
			return fmt.Errorf("keelson: Nodes[%d]: name %q is given twice", i, n.Name)
		}
		names[n.Name] = true
		if n.Runtime == nil {
			c.EmbeddedNetwork = true
		}
	}
	return nil
}

func (n *NodeConfig) validate() error {
	if n.Name == "" {
		return errors.New("Name: required")
	}
	if msgs := validation.IsDNS1123Subdomain(n.Name); len(msgs) > 0 {
		return fmt.Errorf("Name: %q: %s", n.Name, msgs[0])
	}
	return nil
}
