package keelson

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authn/pki"
)

// agentCaller is the certificate name that the API server shows to node agents; they trust nobody else.
const agentCaller = "keelson-apiserver"

// adminUser is the name on the administrator's certificate.
const adminUser = "keelson-admin"

// credentials are the cluster's authority and what was issued for its own use.
type credentials struct {
	ca     *pki.CA
	server tls.Certificate // shown by the HTTPS API
	caller tls.Certificate // shown to node agents
	admin  *pki.Pair       // for the kubeconfig
}

// newAuthority loads the authority of dir, or makes one and keeps it there; dir nil keeps nothing.
func newAuthority(dir *os.Root) (*pki.CA, error) {
	if dir == nil {
		return pki.NewCA("keelson", 0)
	}
	return pki.LoadOrNewCA(dir, "keelson")
}

// newCredentials issues what the cluster needs for itself. Everything but the authority and the administrator's
// certificate is issued anew at each start: nobody else holds it.
func newCredentials(dir *os.Root, ca *pki.CA, hosts []string) (*credentials, error) {
	c := &credentials{ca: ca}
	var err error
	if c.server, err = c.issue(pki.Request{CommonName: agentCaller, Hosts: hosts}); err != nil {
		return nil, err
	}
	if c.caller, err = c.issue(pki.Request{CommonName: agentCaller, Client: true}); err != nil {
		return nil, err
	}
	c.admin, err = c.loadAdmin(dir)
	return c, err
}

func (c *credentials) issue(req pki.Request) (tls.Certificate, error) {
	pair, err := c.ca.Issue(req)
	if err != nil {
		return tls.Certificate{}, err
	}
	return pair.TLS()
}

func (c *credentials) loadAdmin(dir *os.Root) (*pki.Pair, error) {
	if dir != nil {
		pair, err := pki.LoadPair(dir, "admin")
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return pair, err
		}
	}
	pair, err := c.user(adminUser, authn.GroupMasters)
	if err != nil || dir == nil {
		return pair, err
	}
	return pair, pair.Save(dir, "admin")
}

func (c *credentials) user(name string, groups ...string) (*pki.Pair, error) {
	return c.ca.Issue(pki.Request{CommonName: name, Organizations: groups, Client: true})
}

// serverTLS is for the HTTPS API: certificates are asked for but not required. authn.Certificates verifies them with each
// request, so that a bad one is answered by a Status with 401, and one that expires does not outlive its connection.
func (c *credentials) serverTLS() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{c.server},
		ClientCAs:    c.ca.Pool(),
		ClientAuth:   tls.RequestClientCert,
		NextProtos:   []string{"h2", "http/1.1"},
	}
}

// callerTLS is for calls to node agents.
func (c *credentials) callerTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{c.caller}, RootCAs: c.ca.Pool()}
}

// agentTLS is what a node agent serves with: it admits the cluster's authority, and authorizeAgentCall the one caller.
func (c *credentials) agentTLS(host string) (*tls.Config, error) {
	cert, err := c.issue(pki.Request{CommonName: "system:node", Hosts: []string{host}})
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientCAs:    c.ca.Pool(),
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}, nil
}

// authorizeAgentCall lets only the API server's own certificate through.
func authorizeAgentCall(r *http.Request) error {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || r.TLS.PeerCertificates[0].Subject.CommonName != agentCaller {
		return errors.New("only the API server may call a node agent")
	}
	return nil
}

// hostNames are what the API's certificate is valid for: the listening address, loopback and the given names.
func hostNames(listen string, more []string) []string {
	names := append([]string{"localhost", "127.0.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}, more...)
	if host, _, err := net.SplitHostPort(listen); err == nil && host != "" {
		if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
			names = append(names, host)
		}
	}
	return names
}
