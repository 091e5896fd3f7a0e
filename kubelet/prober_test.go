package kubelet

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/keelson-dev/keelson/kubelet/probe"
)

func TestPortOf(t *testing.T) {
	c := &corev1.Container{Name: "main", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}
	for _, tc := range []struct {
		port intstr.IntOrString
		want int
		err  string
	}{
		{intstr.FromInt32(80), 80, ""}, {intstr.FromString("http"), 8080, ""}, {intstr.FromString("90"), 90, ""},
		{intstr.FromString("grpc"), 0, `no port named "grpc"`}, {intstr.FromInt32(0), 0, "want 1 to 65535"}, {intstr.FromInt32(70000), 0, "want 1 to 65535"},
	} {
		got, err := portOf(tc.port, c)
		if tc.err != "" {
			require.ErrorContains(t, err, tc.err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, tc.want, got)
	}
}

// open is a connection that nothing is asked of but to close.
type open struct{ net.Conn }

func (open) Close() error { return nil }

// TestProberThresholds follows one container's probes over time: what they say, second by second, and the verdicts.
func TestProberThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		second := func() int { return int(time.Since(began).Seconds()) }
		inFlight := 0
		k := &Kubelet{config: Config{Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
			inFlight++
			defer func() { inFlight-- }()
			require.Equal(t, 1, inFlight, "one probe in flight")
			s := second()
			switch {
			case address == "10.0.0.7:1" && s < 25: // the startup probe: it takes 25 s to come up
				return nil, errors.New("refused")
			case address == "10.0.0.7:2" && s >= 100: // the liveness probe: hangs from 100 s on
				<-ctx.Done()
				return nil, ctx.Err()
			case address == "10.0.0.7:3" && s >= 50 && s < 70: // the readiness probe: a pause
				return nil, errors.New("refused")
			}
			return open{}, nil
		}}}
		tcp := func(port int32, period, success, failure int32) *corev1.Probe {
			return &corev1.Probe{
				ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(port)}},
				PeriodSeconds: period, SuccessThreshold: success, FailureThreshold: failure, TimeoutSeconds: 2,
			}
		}
		type verdict struct {
			at int
			h  health
		}
		var got []verdict
		p := &prober{
			kubelet: k, host: "10.0.0.7", container: container{id: "c", started: began},
			spec:      &corev1.Container{StartupProbe: tcp(1, 10, 1, 5), LivenessProbe: tcp(2, 10, 1, 3), ReadinessProbe: tcp(3, 5, 2, 2)},
			report:    func(_ string, h health) { got = append(got, verdict{second(), h}) },
			unhealthy: func(string, probe.Result) {},
		}
		p.run(t.Context())
		require.Equal(t, []verdict{
			{30, health{started: true}},
			{35, health{started: true, ready: true}},
			{55, health{started: true}},
			{75, health{started: true, ready: true}},
			{122, health{started: true, failed: true, message: "failed liveness probe"}},
		}, got)
	})
}
