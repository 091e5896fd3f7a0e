package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// The media types that requests ask for.
const (
	jsonType       = "application/json"
	protobufType   = "application/vnd.kubernetes.protobuf"
	tableType      = "application/json;as=Table;v=v1;g=meta.k8s.io"
	protobufStream = "application/vnd.kubernetes.protobuf;stream=watch"
)

// dialed is client-go's clients of one server, with a connection each. Callers share them evenly.
type dialed struct {
	clients  []*corev1client.CoreV1Client
	received atomic.Int64 // bytes, in the clear or not as they came from the sockets

	mu    sync.Mutex
	conns []net.Conn
}

// dial makes clients that have the typed client speak protobuf. plain is whether they refuse gzip.
func (c *contender) dial(connections int, plain bool) (*dialed, error) {
	d := &dialed{}
	for range connections {
		client, err := corev1client.NewForConfig(&rest.Config{
			Host: c.url,
			TLSClientConfig: rest.TLSClientConfig{
				CAData: c.credentials.ca.CertPEM(), CertData: c.credentials.admin.CertPEM, KeyData: c.credentials.admin.KeyPEM,
			},
			ContentConfig:      rest.ContentConfig{ContentType: protobufType, AcceptContentTypes: protobufType + "," + jsonType},
			QPS:                -1, // no limit
			DisableCompression: plain,
			Dial:               d.connect, // a function of its own also makes a connection of its own
		})
		if err != nil {
			return nil, err
		}
		d.clients = append(d.clients, client)
	}
	return d, nil
}

func (d *dialed) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns = append(d.conns, conn)
	return &counted{conn, &d.received}, nil
}

func (d *dialed) of(caller int) *corev1client.CoreV1Client { return d.clients[caller%len(d.clients)] }

// close ends the connections.
func (d *dialed) close() error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	for _, c := range d.conns {
		if e := c.Close(); !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// counted counts what is read.
type counted struct {
	net.Conn
	received *atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.received.Add(int64(n))
	return n, err
}
