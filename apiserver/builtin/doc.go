// Package builtin gives the built-in kinds their behaviour: defaults, preparation, validation, columns, selectable
// fields and claims, as Kubernetes 1.37 has them. Package kind names the kinds; whoever assembles a server takes
// [Kinds], or [KindsWith] to allow what the embedded network needs, and passes them on. Nobody else needs this package.
//
// Next to the kinds stand the admission plugins that built-in kinds rely on: [ClusterIPs] and [NodePorts] allocate
// what a Service leaves open, [Priority] resolves a Pod's priority class, [DefaultTolerations] and
// [DefaultServiceAccount] fill in what every Pod gets. Each is a function that returns an admission.Plugin and reads
// the rest of the cluster through a client.Client; [Plugins] is all of them in order:
//
//	apiserver.Config{Kinds: builtin.Kinds(), AdmissionFrom: builtin.Plugins(serviceRange, builtin.PortRange{})}
//
// # Order
//
// A server calls Default, then admission plugins, Default again, Prepare, and Validate. Default is idempotent: it runs on reads too, for objects stored
// before a default existed. Validate relies on the defaults: what Default fills is reported as missing when it is not there.
//
// # Ownership and concurrency
//
// The functions keep nothing and share nothing: they may run concurrently on different objects. Default and Prepare
// change the object that they are given, never old; the others change nothing.
//
// # What it does not do
//
// Metadata common to all kinds (labels, annotations, owners, finalizers, generation) is the server's; here only the
// form of a name is checked, since kinds differ in it. Nothing here looks at other objects, except plugins. Services
// are single-stack.
package builtin
