package keelson

import (
	"context"
	"errors"
	"fmt"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authn/pki"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/client/https"
)

// errNoAddress says why something that needs the HTTPS API is not to be had.
var errNoAddress = errors.New("keelson: the cluster does not listen; set Config.Listen")

// Kubeconfig is a kubeconfig for the administrator, with a client certificate: for kubectl and every other client of
// Kubernetes. It waits until the cluster is ready. Write it to a file with its Write method.
func (c *Cluster) Kubeconfig(ctx context.Context) (https.Kubeconfig, error) {
	if err := c.Ready(ctx); err != nil {
		return https.Kubeconfig{}, err
	}
	if c.plane.credentials == nil {
		return https.Kubeconfig{}, errNoAddress
	}
	return c.kubeconfig(c.plane.credentials.admin), nil
}

// KubeconfigFor is a kubeconfig with a new certificate for a user, who may do what RBAC objects allow.
func (c *Cluster) KubeconfigFor(ctx context.Context, user authn.User) (https.Kubeconfig, error) {
	if err := c.Ready(ctx); err != nil {
		return https.Kubeconfig{}, err
	}
	if c.plane.credentials == nil {
		return https.Kubeconfig{}, errNoAddress
	}
	if user.Name == "" || user.Name == agentCaller {
		return https.Kubeconfig{}, fmt.Errorf("keelson: KubeconfigFor: the user %q: want a name, and not %q, which node agents obey", user.Name, agentCaller)
	}
	pair, err := c.plane.credentials.user(user.Name, user.Groups...)
	if err != nil {
		return https.Kubeconfig{}, err
	}
	return c.kubeconfig(pair), nil
}

func (c *Cluster) kubeconfig(pair *pki.Pair) https.Kubeconfig {
	return https.Kubeconfig{
		Server: c.URL(), CAData: c.plane.credentials.ca.CertPEM(), CertData: pair.CertPEM, KeyData: pair.KeyPEM,
	}
}

// nodeClient is a node's client over HTTPS, with a new certificate.
func (c *Cluster) nodeClient(name string) (client.Client, error) {
	pair, err := c.plane.credentials.user(nodeUser(name).Name, authn.GroupNodes)
	if err != nil {
		return nil, err
	}
	return https.New(https.Config{
		Server: c.URL(), CAData: c.plane.credentials.ca.CertPEM(), CertData: pair.CertPEM, KeyData: pair.KeyPEM,
		UserAgent: "keelson-node",
	})
}
