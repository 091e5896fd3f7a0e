package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// keyPair is a certificate and its key from files, which may be replaced while the program runs.
type keyPair struct {
	files certFiles

	mu      sync.Mutex
	changed [2]time.Time
	current *tls.Certificate
}

// load returns the certificate. One that can't be read, since it is just being replaced, leaves the one before in use.
func (k *keyPair) load() (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var changed [2]time.Time
	for i, file := range []string{k.files.cert, k.files.key} {
		if info, err := os.Stat(file); err == nil {
			changed[i] = info.ModTime()
		}
	}
	if k.current != nil && changed == k.changed {
		return k.current, nil
	}
	pair, err := tls.LoadX509KeyPair(k.files.cert, k.files.key)
	switch {
	case err == nil:
		k.current, k.changed = &pair, changed
	case k.current == nil:
		return nil, fmt.Errorf("certificate %s with key %s: %w", k.files.cert, k.files.key, err)
	}
	return k.current, nil
}

func readPool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return pool, nil
}

// config is the TLS of either side; nil if there are no files.
func (f certFiles) config() (*tls.Config, error) {
	if f == (certFiles{}) {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.cert != "" {
		pair := &keyPair{files: f}
		if _, err := pair.load(); err != nil {
			return nil, err
		}
		cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.load() }
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.load() }
	}
	if f.ca != "" {
		pool, err := readPool(f.ca)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs, cfg.ClientCAs = pool, pool
	}
	return cfg, nil
}

// serverConfig is that of the client port.
func (f certFiles) serverConfig() (*tls.Config, error) {
	cfg, err := f.config()
	if cfg != nil && f.ca != "" {
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return cfg, err
}

// clientCredentials are those of this program as a client.
func (f certFiles) clientCredentials() (credentials.TransportCredentials, error) {
	cfg, err := f.config()
	if err != nil || cfg == nil {
		return insecure.NewCredentials(), err
	}
	return credentials.NewTLS(cfg), nil
}
