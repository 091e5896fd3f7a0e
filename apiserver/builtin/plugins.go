package builtin

import (
	"net/netip"

	"github.com/keelson-dev/keelson/apiserver/admission"
	"github.com/keelson-dev/keelson/apiserver/client"
)

// Plugins is the chain that the built-in kinds rely on, in its order, for apiserver.Config.AdmissionFrom. services is the
// range of cluster IPs; the zero prefix allocates none. nodePorts is the range of node ports, zero for the usual one.
func Plugins(services netip.Prefix, nodePorts PortRange) func(client.Client) []admission.Plugin {
	return func(c client.Client) []admission.Plugin {
		chain := []admission.Plugin{
			admission.NamespaceLifecycle(c),
			DefaultServiceAccount(),
			DefaultTolerations(),
			Priority(c),
			NodePorts(nodePorts, c),
			Requester(),
		}
		if services.IsValid() {
			chain = append(chain, ClusterIPs(services, c))
		}
		return chain
	}
}
