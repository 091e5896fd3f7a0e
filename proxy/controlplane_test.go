package proxy_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/controller/controllertest"
	"github.com/keelson-dev/keelson/proxy"
	"github.com/keelson-dev/keelson/proxy/proxytest"
)

const manifest = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  clusterIP: 10.96.0.10
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-a, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.0.0.1], conditions: {ready: true}}
- {addresses: [10.0.0.2], conditions: {ready: false}}
`

// The same through a real API server, with its defaults and its watch cache.
func TestWithAControlPlane(t *testing.T) {
	cp := controllertest.New(t)
	dp := &proxytest.Fake{}
	p, err := proxy.New(cp.Client, dp, proxy.Config{})
	require.NoError(t, err)
	cp.Run(p)
	cp.Start()
	<-p.Synced()
	cp.Apply(manifest)
	require.NoError(t, p.WaitFor(t.Context(), func(tbl proxy.Table) bool {
		rule, ok := tbl.Find(proxy.ServicePortName{Namespace: "default", Name: "web", Port: "http"})
		return ok && len(rule.Internal) == 1
	}))
	require.Contains(t, dp.Table().String(), "default/web:http TCP cluster 10.96.0.10:80 -> 10.0.0.1:8080\n")
	require.Positive(t, p.Revision())
}
