package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// startKube executes kube-apiserver. What it says goes to a file in dir.
func startKube(binary, dir, addr, etcdAddr string, c *credentials) (*exec.Cmd, error) {
	keys, err := c.ca.KeyPEM() // the service accounts' tokens are not used; they need a key
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"ca.crt": c.ca.CertPEM(), "server.crt": c.server.CertPEM, "server.key": c.server.KeyPEM, "tokens.key": keys}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	cmd := exec.Command(binary,
		"--etcd-servers=http://"+etcdAddr,
		"--bind-address="+host, "--secure-port="+port,
		"--advertise-address=192.0.2.1", // it is only written into an EndpointSlice, and may not be loopback
		"--tls-cert-file="+at("server.crt"), "--tls-private-key-file="+at("server.key"), "--client-ca-file="+at("ca.crt"),
		"--authorization-mode=Node,RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+at("ca.crt"), "--service-account-signing-key-file="+at("tokens.key"),
		"--service-cluster-ip-range=10.96.0.0/16",
	)
	cmd.Stdout, cmd.Stderr = log, log
	err = cmd.Start()
	return cmd, errors.Join(err, log.Close())
}

// kubeMemory has kube-apiserver collect its garbage, and returns what is live. Source: runtime/pprof's heap profile, which
// kube-apiserver serves to who may see it.
func (c *contender) kubeMemory(ctx context.Context) (m Memory, err error) {
	config, err := c.credentials.tls()
	if err != nil {
		return m, err
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/debug/pprof/heap?gc=1&debug=1", nil)
	if err != nil {
		return m, err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return m, err
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, figure, _ := strings.Cut(lines.Text(), " = ")
		into := map[string]*uint64{"# HeapAlloc": &m.Live, "# Stack": &m.Stacks}[name]
		if into == nil {
			continue
		}
		figure, _, _ = strings.Cut(figure, " / ") // stacks in use, and reserved
		if *into, err = strconv.ParseUint(figure, 10, 64); err != nil {
			return m, err
		}
	}
	if m.Live == 0 || m.Stacks == 0 {
		return m, errors.Join(fmt.Errorf("bench: kube-apiserver's profile (%s) does not tell its heap and stacks", res.Status), lines.Err())
	}
	return m, nil
}

// kubeVersion asks a binary.
func kubeVersion(ctx context.Context, binary string) (string, error) {
	out, err := exec.CommandContext(ctx, binary, "--version").Output()
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "Kubernetes "), err
}
