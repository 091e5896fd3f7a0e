// Package ingress is an HTTP and HTTPS reverse proxy for Ingress objects: it routes requests by host and path to the
// endpoints of Services.
//
//	s, err := ingress.New(c, ingress.Config{HTTPAddr: "127.0.0.1:8080", PublishAddress: "127.0.0.1"})
//	err = s.Run(ctx)
//
// # Which objects
//
// An Ingress is served when its class (spec.ingressClassName, or the older annotation) is an IngressClass whose
// controller is keelson.dev/ingress. One that names no class belongs to the class that is marked as default, or to
// this proxy when Config.WithoutClass says so.
//
// # Routing
//
// [BuildRoutes] is a pure function from objects to [Routes], an immutable value that [Routes.Match] asks. The most
// specific host wins: the name itself, then a wildcard for its first label, then rules without a host. Within a host an
// Exact path wins over a Prefix, a longer prefix over a shorter; prefixes match whole path elements, and
// ImplementationSpecific means Prefix. Between equals the older Ingress wins. What no rule matches goes to the oldest
// default backend, or is 404.
//
// A backend is a port of a Service with a cluster IP; requests go to its endpoints directly, in turn, and to the next
// one when an endpoint can't be dialed, which is safe because nothing was sent yet. No endpoint is 503, a backend
// that breaks off 502. Host passes unchanged, X-Forwarded-For, -Host and -Proto are set anew. Upgrades such as
// WebSocket pass.
//
// # TLS
//
// Certificates come from the Secrets that spec.tls names, chosen by the name the client asks for (SNI), wildcards too.
// Without a matching certificate the handshake fails. A changed Secret holds for the next handshake.
//
// # Status
//
// Config.PublishAddress is written to status.loadBalancer of each Ingress that is served. Failed writes are repeated.
//
// # Lifetime
//
// When Run's context ends, no new request is taken, running ones have Config.Drain, and then all connections are
// closed, upgraded ones too. Resource backends, redirects to HTTPS and annotations of other controllers are not
// offered.
package ingress
