package apiserver_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/require"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/admission"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

func startPlain(t *testing.T) (*apiserver.Server, client.Client) {
	return start(t, func(cfg *apiserver.Config) {
		cfg.Kinds = builtin.Kinds()
		cfg.AdmissionFrom = func(client.Client) []admission.Plugin { return []admission.Plugin{builtin.Requester()} }
	})
}

func TestCertificateApproval(t *testing.T) {
	s, _ := startPlain(t)
	ctx := t.Context()
	c := s.Client(authn.User{Name: "alice", UID: "7", Groups: []string{"dev"}, Extra: map[string][]string{"k": {"v"}}})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "a"}}, key)
	require.NoError(t, err)
	requests := client.For(c, kind.CertificateSigningRequest)
	r, err := requests.Create(ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "alice"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: "example.com/sign",
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth}, Username: "root", Groups: []string{"system:masters"},
		},
		Status: certificatesv1.CertificateSigningRequestStatus{Certificate: []byte("x")},
	})
	require.NoError(t, err)
	require.Equal(t, "alice", r.Spec.Username, "who asks is not what they say")
	require.Equal(t, []string{"dev"}, r.Spec.Groups)
	require.Equal(t, certificatesv1.ExtraValue{"v"}, r.Spec.Extra["k"])
	require.Empty(t, r.Status.Certificate)
	require.Zero(t, r.Generation)

	approve := func(subresource string, change func(*certificatesv1.CertificateSigningRequest)) (*certificatesv1.CertificateSigningRequest, error) {
		obj := r.DeepCopy()
		obj.ResourceVersion = ""
		change(obj)
		resp, err := c.Do(ctx, &client.Request{Verb: client.Update, Kind: kind.CertificateSigningRequest.Kind(), Subresource: subresource, Name: "alice", Object: obj})
		if err != nil {
			return nil, err
		}
		return resp.Object.(*certificatesv1.CertificateSigningRequest), nil
	}
	approved := certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Fine"}
	_, err = approve("status", func(r *certificatesv1.CertificateSigningRequest) {
		r.Status.Conditions = append(r.Status.Conditions, approved)
	})
	require.ErrorContains(t, err, `status.conditions: Forbidden: updates may not add a condition of type "Approved"`)
	_, err = approve("", func(r *certificatesv1.CertificateSigningRequest) {
		r.Status.Conditions = append(r.Status.Conditions, approved)
	})
	require.NoError(t, err, "the status is not the object's to write")
	got, err := requests.Get(ctx, "", "alice")
	require.NoError(t, err)
	require.Empty(t, got.Status.Conditions)
	got, err = approve("approval", func(r *certificatesv1.CertificateSigningRequest) {
		r.Status.Conditions = append(r.Status.Conditions, approved)
		r.Status.Certificate, r.Spec.SignerName = []byte("x"), "other.com/sign"
	})
	require.NoError(t, err)
	require.Len(t, got.Status.Conditions, 1)
	require.False(t, got.Status.Conditions[0].LastUpdateTime.IsZero())
	require.Empty(t, got.Status.Certificate, "an approver does not issue")
	require.Equal(t, "example.com/sign", got.Spec.SignerName)
	r = got
	_, err = approve("approval", func(r *certificatesv1.CertificateSigningRequest) {
		r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateDenied, Status: corev1.ConditionTrue})
	})
	require.ErrorContains(t, err, "Approved and Denied conditions are mutually exclusive")
	_, err = approve("approval", func(r *certificatesv1.CertificateSigningRequest) { r.Status.Conditions = nil })
	require.ErrorContains(t, err, `updates may not remove a condition of type "Approved"`)
	_, err = approve("status", func(r *certificatesv1.CertificateSigningRequest) { r.Status.Certificate = []byte("nonsense") })
	require.ErrorContains(t, err, "must contain at least one CERTIFICATE PEM block")
	_, err = approve("sign", func(*certificatesv1.CertificateSigningRequest) {})
	require.True(t, apierrors.IsNotFound(err), "%v", err)
}

func TestPodParts(t *testing.T) {
	_, c := startPlain(t)
	ctx := t.Context()
	pods := client.For(c, kind.Pod)
	cpu := func(n string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(n)}
	}
	_, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "a", Image: "a", Resources: corev1.ResourceRequirements{Requests: cpu("1")}}},
	}})
	require.NoError(t, err)
	at := func(subresource string) client.Option {
		return func(r *client.Request) { r.Subresource = subresource }
	}
	patch := func(subresource, data string) (*corev1.Pod, error) {
		return pods.Patch(ctx, "default", "web", types.StrategicMergePatchType, []byte(data), at(subresource))
	}
	p, err := patch("ephemeralcontainers", `{"metadata":{"labels":{"x":"y"}},"spec":{"nodeName":"n1","ephemeralContainers":[{"name":"debug","image":"sh","targetContainerName":"a"}]}}`)
	require.NoError(t, err)
	require.Equal(t, "debug", p.Spec.EphemeralContainers[0].Name)
	require.Equal(t, corev1.PullAlways, p.Spec.EphemeralContainers[0].ImagePullPolicy, "defaulted")
	require.Empty(t, p.Spec.NodeName)
	require.Equal(t, int64(2), p.Generation)
	for data, want := range map[string]string{
		`{"spec":{"ephemeralContainers":[{"name":"debug","image":"other"}]}}`:                                   `spec.ephemeralContainers: Forbidden: existing ephemeral containers "debug" may not be changed`,
		`{"spec":{"ephemeralContainers":[{"$patch":"delete","name":"debug"}]}}`:                                 `existing ephemeral containers "debug" may not be removed`,
		`{"spec":{"ephemeralContainers":[{"name":"b","image":"sh","targetContainerName":"none"}]}}`:             `spec.ephemeralContainers[0].targetContainerName: Not found: "none"`,
		`{"spec":{"ephemeralContainers":[{"name":"b","image":"sh","ports":[{"containerPort":1}]}]}}`:            "ports: Forbidden: cannot be set for an Ephemeral Container",
		`{"spec":{"ephemeralContainers":[{"name":"a","image":"sh"}]}}`:                                          `name: Duplicate value: "a"`,
		`{"spec":{"ephemeralContainers":[{"name":"b","image":"sh","livenessProbe":{"tcpSocket":{"port":1}}}]}}`: "livenessProbe: Forbidden: cannot be set for an Ephemeral Container",
	} {
		_, err := patch("ephemeralcontainers", data)
		require.ErrorContains(t, err, want)
	}

	p, err = patch("resize", `{"spec":{"containers":[{"name":"a","image":"other","resources":{"requests":{"cpu":"2"}}}]}}`)
	require.NoError(t, err)
	require.Equal(t, cpu("2"), p.Spec.Containers[0].Resources.Requests)
	require.Equal(t, "a", p.Spec.Containers[0].Image)
	require.Equal(t, int64(3), p.Generation)
	for data, want := range map[string]string{
		`{"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":"2","memory":"1Gi"},"requests":{"memory":"1Gi"}}}]}}`: "Pod QOS Class may not change as a result of resizing",
		`{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":null}}}]}}`:                                         "resources.requests: Forbidden: resource requests cannot be removed",
		`{"spec":{"containers":[{"name":"b","image":"b"}]}}`:                                                                   "spec.containers: Forbidden: containers may not be added or removed on resize",
		`{"spec":{"containers":[{"name":"a","resources":{"requests":{"ephemeral-storage":"1Gi"}}}]}}`:                          "only cpu and memory resources are mutable",
	} {
		_, err := patch("resize", data)
		require.ErrorContains(t, err, want)
	}
	// A pod that runs where nothing tells of the resources of containers can't be resized.
	_, err = pods.MutateStatus(ctx, "default", "web", func(p *corev1.Pod) error {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "a", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		return nil
	})
	require.NoError(t, err)
	_, err = patch("resize", `{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"3"}}}]}}`)
	require.ErrorContains(t, err, "Pod running on node without support for resize")
	_, err = patch("", `{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"3"}}}]}}`)
	require.ErrorContains(t, err, "pod updates may not change fields other than")
}

// One autoscaler in two versions, and one event in two groups.
func TestKindsInTwoVersions(t *testing.T) {
	s, c := startPlain(t)
	ctx := t.Context()
	old, current := client.For(c, kind.HorizontalPodAutoscalerV1), client.For(c, kind.HorizontalPodAutoscaler)
	_, err := old.Create(ctx, &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: autoscalingv1.HorizontalPodAutoscalerSpec{
		MaxReplicas: 3, ScaleTargetRef: autoscalingv1.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"},
	}})
	require.NoError(t, err)
	hpa, err := current.Get(ctx, "default", "web")
	require.NoError(t, err)
	require.Equal(t, int32(80), *hpa.Spec.Metrics[0].Resource.Target.AverageUtilization)
	_, found, err := s.Store().Get(ctx, []byte("/registry/horizontalpodautoscalers/default/web"))
	require.NoError(t, err)
	require.True(t, found)
	_, err = old.Patch(ctx, "default", "web", types.MergePatchType, []byte(`{"spec":{"targetCPUUtilizationPercentage":0}}`))
	require.ErrorContains(t, err, "averageUtilization: Invalid value: 0: must be greater than 0")

	news, events := client.For(c, kind.EventsEvent), client.For(c, kind.Event)
	_, err = news.Create(ctx, &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web.1"}, EventTime: metav1.NowMicro(), Type: "Normal", Reason: "Started", Action: "Start", Note: "it runs",
		Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "web"}, ReportingController: "example.com/agent", ReportingInstance: "n1",
	})
	require.NoError(t, err)
	list, err := events.List(ctx, client.InNamespace("default"), client.Fields(fields.OneTermEqualSelector("involvedObject.name", "web")))
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	require.Equal(t, "it runs", list.Items[0].Message)
	_, found, err = s.Store().Get(ctx, []byte("/registry/events/default/web.1"))
	require.NoError(t, err)
	require.True(t, found)
	_, err = news.List(ctx, client.InNamespace("default"), client.Fields(fields.OneTermEqualSelector("involvedObject.name", "web")))
	require.True(t, apierrors.IsBadRequest(err), "%v", err)
	require.EqualError(t, err, "field label not supported: involvedObject.name")
	_, err = client.For(c, kind.ConfigMap).List(ctx, client.Fields(fields.OneTermEqualSelector("data.a", "b")))
	require.EqualError(t, err, `"data.a" is not a known field selector: only "metadata.name", "metadata.namespace"`)
}
