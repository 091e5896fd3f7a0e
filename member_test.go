package keelson_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/keelson-dev/keelson/runtime/runtimetest"
	"github.com/keelson-dev/keelson/store"
)

// TestThreeControlPlanes runs three control planes over one store, each with a node. One of them at a time leads
// controllers and scheduler; when it goes, its node too, another one carries on.
func TestThreeControlPlanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		names := []string{"a", "b", "c"}
		listeners := map[string]*memnet.Listener{}
		var peers []store.Peer
		for _, name := range names {
			listeners[name] = memnet.Listen(name)
			peers = append(peers, store.Peer{Name: name, Addr: name})
		}
		clusters, stops := map[string]*keelson.Cluster{}, map[string]func(){}
		for _, name := range names {
			clusters[name], stops[name] = startStoppable(t, keelson.Config{
				Member: &keelson.MemberConfig{
					Name: name, Peers: peers, Listener: listeners[name], Disk: &store.MemoryDisk{},
					Dial: func(ctx context.Context, addr string) (net.Conn, error) {
						if l := listeners[addr]; l != nil {
							return l.Dial(ctx)
						}
						return nil, errors.New("it has gone")
					},
				},
				Nodes: []keelson.NodeConfig{{Name: "node-" + name, Runtime: runtimetest.New(runtimetest.Config{})}},
			})
		}
		<-time.After(time.Minute)
		_, err := client.Apply(ctx, clusters["b"].Client(), clusters["b"].Kinds(), []byte(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: any}]}
`))
		require.NoError(t, err)
		leads := func(via string) string {
			lease, err := client.For(clusters[via].Client(), kind.Lease).Get(ctx, "kube-system", "keelson")
			require.NoError(t, err)
			require.NotNil(t, lease.Spec.HolderIdentity)
			return *lease.Spec.HolderIdentity
		}
		settled := func(via string, after time.Duration) {
			<-time.After(after)
			dep, err := client.For(clusters[via].Client(), kind.Deployment).Get(ctx, "default", "web")
			require.NoError(t, err)
			require.EqualValues(t, 4, dep.Status.AvailableReplicas, "at %s", via)
			require.EqualValues(t, 4, dep.Status.Replicas)
			sets, err := client.For(clusters[via].Client(), kind.ReplicaSet).List(ctx)
			require.NoError(t, err)
			require.Len(t, sets.Items, 1, "two that lead would both have made one")
		}
		for _, name := range names {
			settled(name, 2*time.Minute)
		}
		leader := leads("a")
		explains := 0
		pods, err := client.For(clusters["a"].Client(), kind.Pod).List(ctx)
		require.NoError(t, err)
		for _, name := range names {
			if _, err := clusters[name].Explain(ctx, pods.Items[0]); err == nil {
				explains++
				require.Equal(t, leader, name)
			} else {
				require.ErrorContains(t, err, "another of the control planes")
			}
		}
		require.Equal(t, 1, explains)

		stops[leader]()
		delete(stops, leader)
		delete(listeners, leader)
		other := names[0]
		if other == leader {
			other = names[1]
		}
		settled(other, 10*time.Minute) // its node is waited for first
		require.NotEqual(t, leader, leads(other))
		require.Contains(t, names, leads(other))
		pods, err = client.For(clusters[other].Client(), kind.Pod).List(ctx)
		require.NoError(t, err)
		for _, pod := range pods.Items {
			if pod.DeletionTimestamp == nil { // nobody is left there to confirm that the others are gone
				require.NotEqual(t, "node-"+leader, pod.Spec.NodeName, "its node has gone")
			}
		}
		s, err := clusters[other].Store(ctx)
		require.NoError(t, err)
		require.NoError(t, s.RemoveMember(ctx, leader))
		status, err := s.Status(ctx)
		require.NoError(t, err)
		require.LessOrEqual(t, len(status.Members), 3)
		for _, stop := range stops {
			stop()
		}
	})
}

// TestOneAuthority has the certificates of one control plane be good at the other, although each had an authority of its
// own when it started.
func TestOneAuthority(t *testing.T) {
	dir := t.TempDir()
	var peers []store.Peer
	var listeners []net.Listener
	for _, name := range []string{"a", "b"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		listeners = append(listeners, l)
		peers = append(peers, store.Peer{Name: name, Addr: l.Addr().String()})
	}
	var clusters []*keelson.Cluster
	for i, p := range peers {
		clusters = append(clusters, start(t, keelson.Config{
			DataDir: filepath.Join(dir, p.Name), Listen: "127.0.0.1:0", Without: keelson.Controllers | keelson.Scheduler,
			Member: &keelson.MemberConfig{Name: p.Name, Peers: peers, Listener: listeners[i]},
		}))
	}
	one, err := clusters[0].Kubeconfig(t.Context())
	require.NoError(t, err)
	require.NoError(t, clusters[1].Ready(t.Context()))
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(one.CAData))
	pair, err := tls.X509KeyPair(one.CertData, one.KeyData)
	require.NoError(t, err)
	for _, c := range clusters {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}}
		res, err := (&http.Client{Transport: transport}).Get(c.URL() + "/api/v1/namespaces/default")
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, http.StatusOK, res.StatusCode)
		transport.CloseIdleConnections()
	}
	var certs []string
	for _, p := range peers {
		text, err := os.ReadFile(filepath.Join(dir, p.Name, "pki", "ca.crt"))
		require.NoError(t, err)
		certs = append(certs, string(text))
	}
	require.Equal(t, certs[0], certs[1])
}

func TestMemberMistakes(t *testing.T) {
	for _, c := range []struct {
		cfg  keelson.Config
		says string
	}{
		{keelson.Config{DataDir: "x", Member: &keelson.MemberConfig{}}, "Name is empty"},
		{keelson.Config{Member: &keelson.MemberConfig{Name: "a"}}, "DataDir is empty"},
		{keelson.Config{DataDir: "x", EmbeddedNetwork: true, Member: &keelson.MemberConfig{Name: "a"}}, "embedded network"},
	} {
		_, err := keelson.New(c.cfg)
		require.ErrorContains(t, err, c.says, fmt.Sprint(c.cfg.Member))
	}
}
