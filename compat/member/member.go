// Package member starts members of a store with etcd's API on loopback, for tests: one in memory, or three with real
// sockets between them, with TLS or without.
package member

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/etcdapi"
)

// Config says what Start starts. The zero Config is one member in memory without TLS.
type Config struct {
	// Members is how many there are. Zero means one, which has no name and no peers.
	Members int
	// TLS has clients talk to them over TLS.
	TLS bool
	// Store and API are what each member gets besides what Start decides.
	Store store.Config
	API   etcdapi.Config
}

// Cluster is what was started.
type Cluster struct {
	// Endpoints are the URLs for clients, Names the members', in the same order.
	Endpoints, Names []string
	// Stores are the members.
	Stores []*store.Store
	// CA is a file with the authority of the members' certificates, and ClientTLS trusts it. Without TLS they are empty.
	CA        string
	ClientTLS *tls.Config

	stops []func()
}

// Start starts members, which end with the test.
func Start(t testing.TB, cfg Config) *Cluster {
	t.Helper()
	n := max(1, cfg.Members)
	c := &Cluster{}
	var serverTLS *tls.Config
	if cfg.TLS {
		serverTLS = c.certificate(t)
	}
	peers := make([]store.Peer, n)
	peerListeners, clientListeners := make([]net.Listener, n), make([]net.Listener, n)
	for i := range n {
		peerListeners[i], clientListeners[i] = listen(t), listen(t)
		peers[i] = store.Peer{Name: string(rune('a' + i)), Addr: peerListeners[i].Addr().String()}
		scheme := "http"
		if cfg.TLS {
			scheme = "https"
		}
		c.Names = append(c.Names, peers[i].Name)
		c.Endpoints = append(c.Endpoints, scheme+"://"+clientListeners[i].Addr().String())
	}
	for i := range n {
		sc := cfg.Store
		sc.ClientURLs = []string{c.Endpoints[i]}
		if n > 1 {
			sc.Name, sc.Peers, sc.Listener, sc.MemoryDisk = peers[i].Name, peers, peerListeners[i], &store.MemoryDisk{}
		} else {
			require.NoError(t, peerListeners[i].Close())
		}
		s, err := store.Open(t.Context(), sc)
		require.NoError(t, err)
		api := cfg.API
		if !cfg.TLS {
			api.PeerScheme = "http"
		}
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- etcdapi.New(s, api).Serve(ctx, clientListeners[i], serverTLS) }()
		c.Stores = append(c.Stores, s)
		c.stops = append(c.stops, sync.OnceFunc(func() {
			cancel()
			if err := <-served; err != nil {
				t.Errorf("member %d: %v", i, err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("member %d: %v", i, err)
			}
		}))
	}
	t.Cleanup(func() {
		for i := range c.stops {
			c.Stop(i)
		}
	})
	return c
}

// Stop stops a member.
func (c *Cluster) Stop(i int) { c.stops[i]() }

func listen(t testing.TB) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

// certificate makes one certificate that all members use.
func (c *Cluster) certificate(t testing.TB) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "keelson"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	c.CA = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(c.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	c.ClientTLS = &tls.Config{RootCAs: pool}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// Each runs a test against one member with TLS, one without, and three, all at the same time.
func Each(t *testing.T, cfg Config, test func(t *testing.T, c *Cluster)) {
	t.Helper()
	for _, form := range []Config{{}, {TLS: true}, {Members: 3}} {
		form.Store, form.API = cfg.Store, cfg.API
		t.Run(fmt.Sprintf("members=%d/tls=%t", max(1, form.Members), form.TLS), func(t *testing.T) {
			t.Parallel()
			test(t, Start(t, form))
		})
	}
}
