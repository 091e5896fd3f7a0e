package wire_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// describe is a request in one line: what the wire made of it.
func describe(req *client.Request) string {
	if req == nil {
		return "none"
	}
	words := []string{string(req.Verb), req.Kind.String()}
	add := func(name, value string) {
		if value != "" && value != "0" && value != "false" {
			words = append(words, name+"="+value)
		}
	}
	add("sub", req.Subresource)
	add("ns", req.Namespace)
	add("name", req.Name)
	if req.Object != nil {
		add("object", req.Object.GetObjectKind().GroupVersionKind().Kind+":"+req.Object.GetNamespace()+"/"+req.Object.GetName())
	}
	add("patch", string(req.PatchType))
	if req.DryRun {
		add("dry", "run")
	}
	add("manager", req.FieldManager)
	add("labels", req.List.LabelSelector)
	add("fields", req.List.FieldSelector)
	add("rv", req.List.ResourceVersion)
	add("continue", req.List.Continue)
	if req.List.Limit > 0 {
		add("limit", "some")
	}
	if p := req.Delete.PropagationPolicy; p != nil {
		add("propagation", string(*p))
	}
	if p := req.Delete.GracePeriodSeconds; p != nil {
		add("grace", string(rune('0'+*p)))
	}
	return strings.Join(words, " ")
}

func TestRequestsBecomeClientRequests(t *testing.T) {
	const cm = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`
	for _, tt := range []struct {
		request, body string
		headers       []string
		want          string
		code          int
	}{
		{request: "GET /api/v1/pods", want: "list pods"},
		{request: "GET /api/v1/namespaces/x/pods?limit=5&continue=tok&labelSelector=a%3Db", want: "list pods ns=x labels=a=b continue=tok limit=some"},
		{request: "GET /api/v1/namespaces/x/pods/p/", want: "get pods ns=x name=p"},
		{request: "GET /api/v1/namespaces/x/pods/p?resourceVersion=0", want: "get pods ns=x name=p"},
		{request: "GET /api/v1/namespaces/x/pods/p/status", want: "get pods sub=status ns=x name=p"},
		{request: "HEAD /api/v1/nodes/n", want: "get nodes name=n"},
		{request: "GET /api/v1/namespaces", want: "list namespaces"},
		{request: "GET /api/v1/namespaces/x", want: "get namespaces name=x"},
		{request: "GET /api/v1/namespaces/x/status", want: "get namespaces sub=status name=x"},
		{request: "PUT /api/v1/namespaces/x/finalize", body: `{"metadata":{"name":"x"}}`, want: "update namespaces sub=finalize name=x object=Namespace:/x"},
		{request: "GET /apis/apps/v1/namespaces/x/deployments/d/scale", want: "get deployments.apps sub=scale ns=x name=d"},
		{request: "GET /apis/rbac.authorization.k8s.io/v1/clusterroles/system:node", want: "get clusterroles.rbac.authorization.k8s.io name=system:node"},
		{request: "POST /api/v1/namespaces/x/configmaps?fieldManager=me&dryRun=All", body: cm, want: "create configmaps ns=x object=ConfigMap:x/a dry=run manager=me", code: 201},
		{request: "POST /api/v1/namespaces/x/configmaps", body: cm, headers: []string{"User-Agent: tool/1.0 (x)"}, want: "create configmaps ns=x object=ConfigMap:x/a manager=tool", code: 201},
		{request: "POST /api/v1/namespaces/x/configmaps", body: "metadata:\n  name: a\n", headers: []string{"Content-Type: application/yaml"}, want: "create configmaps ns=x object=ConfigMap:x/a", code: 201},
		{request: "PUT /api/v1/namespaces/x/configmaps/a", body: cm, want: "update configmaps ns=x name=a object=ConfigMap:x/a"},
		{request: "PUT /apis/apps/v1/namespaces/x/deployments/d/scale", body: `{"spec":{"replicas":3}}`, want: "update deployments.apps sub=scale ns=x name=d object=Scale:x/d"},
		{request: "POST /api/v1/namespaces/x/pods/p/binding", body: `{"target":{"kind":"Node","name":"n"}}`, want: "create pods sub=binding ns=x name=p object=Binding:x/p", code: 201},
		{request: "POST /api/v1/namespaces/x/pods/p/eviction", body: `{"apiVersion":"policy/v1","kind":"Eviction"}`, want: "create pods sub=eviction ns=x name=p object=Eviction:x/p", code: 201},
		{request: "PATCH /api/v1/namespaces/x/pods/p", body: `{}`, headers: []string{"Content-Type: application/strategic-merge-patch+json"}, want: "patch pods ns=x name=p patch=" + string(types.StrategicMergePatchType)},
		{request: "PATCH /api/v1/namespaces/x/pods/p?fieldManager=m&force=true", body: `{}`, headers: []string{"Content-Type: application/apply-patch+yaml; charset=utf-8"}, want: "patch pods ns=x name=p patch=" + string(types.ApplyPatchType) + " manager=m"},
		{request: "DELETE /api/v1/namespaces/x/pods/p?propagationPolicy=Orphan&gracePeriodSeconds=3", want: "delete pods ns=x name=p propagation=Orphan grace=3"},
		{request: "DELETE /api/v1/namespaces/x/pods/p", body: `{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":5,"dryRun":["All"]}`, want: "delete pods ns=x name=p dry=run grace=5"},
		{request: "DELETE /api/v1/namespaces/x/pods?labelSelector=a", want: "deletecollection pods ns=x labels=a"},
	} {
		t.Run(tt.request, func(t *testing.T) {
			f := &fake{}
			method, target, _ := strings.Cut(tt.request, " ")
			w := ask(handler(t, f), method, target, tt.body, tt.headers...)
			if tt.code == 0 {
				tt.code = http.StatusOK
			}
			require.Equal(t, tt.code, w.Code, w.Body.String())
			require.Equal(t, tt.want, describe(f.request()))
			require.Equal(t, admin, f.user)
		})
	}
}

func TestRefusals(t *testing.T) {
	deep := strings.Repeat("[", 20000)
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		p := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+p+",", 10), ",") + "]\n"
	}
	for _, tt := range []struct {
		request, body string
		headers       []string
		code          int
		reason        metav1.StatusReason
		message       string
	}{
		{request: "GET /api/v1/gones", code: 404, reason: metav1.StatusReasonNotFound, message: "could not find the requested resource"},
		{request: "GET /api/v2/pods", code: 404},
		{request: "GET /apis/apps/v1/namespaces/x/nodes", code: 404},
		{request: "GET /api/v1/namespaces/x/nodes/n", code: 404},
		{request: "GET /api/v1/pods/p", code: 404},
		{request: "GET /api/v1/namespaces/x/configmaps/a/status", code: 404},
		{request: "GET /api/v1/namespaces/x/pods/p/log/more", code: 404},
		{request: "GET /api/v1/namespaces/x/pods/a%2Fb", code: 400, reason: metav1.StatusReasonBadRequest, message: "encoded slashes"},
		{request: "GET /api/v1/namespaces/x/pods/%2e%2e", code: 400},
		{request: "GET /api/v1/namespaces//pods", code: 400},
		{request: "GET /api/v1/namespaces/x/pods/a%25b", code: 400},
		{request: "GET /api/v1/pods?limit=many", code: 400},
		{request: "GET /api/v1/pods?limit=-1", code: 400},
		{request: "GET /api/v1/pods?labelSelector=%3D%3D", code: 400, message: "labelSelector"},
		{request: "GET /api/v1/pods?fieldSelector=a", code: 400, message: "fieldSelector"},
		{request: "GET /api/v1/pods?resourceVersion=01", code: 400, message: "resourceVersion"},
		{request: "GET /api/v1/pods?resourceVersionMatch=Exact", code: 422, reason: metav1.StatusReasonInvalid},
		{request: "GET /api/v1/pods?sendInitialEvents=true", code: 422},
		{request: "GET /api/v1/pods?watch=1&sendInitialEvents=true", code: 422},
		{request: "GET /api/v1/pods?watch=1&timeoutSeconds=x", code: 400},
		{request: "GET /api/v1/pods?a=%zz", code: 400, message: "query"},
		{request: "GET /api/v1/pods", headers: []string{"Accept: application/cbor"}, code: 406, reason: metav1.StatusReasonNotAcceptable},
		{request: "GET /apis/games.example.com/v1/fleets", headers: []string{"Accept: application/vnd.kubernetes.protobuf"}, code: 406},
		{request: "GET /api/v1/pods?watch=1", headers: []string{"Accept: application/yaml"}, code: 406},
		{request: "GET /api/v1/pods?includeObject=Some", headers: []string{"Accept: application/json;as=Table;v=v1;g=meta.k8s.io"}, code: 400},
		{request: "POST /api/v1/pods", body: "{}", code: 405, reason: metav1.StatusReasonMethodNotAllowed},
		{request: "DELETE /api/v1/pods", code: 405},
		{request: "POST /api/v1/namespaces/x/pods/p", body: "{}", code: 405},
		{request: "DELETE /api/v1/namespaces/x/pods/p/status", code: 405},
		{request: "GET /api/v1/namespaces/x/pods/p/binding", code: 405},
		{request: "TRACE /api/v1/namespaces/x/pods/p", code: 405},
		{request: "POST /version", code: 405},
		{request: "POST /api/v1/namespaces/x/configmaps", body: "{", code: 400},
		{request: "POST /api/v1/namespaces/x/configmaps", body: "", code: 400},
		{request: "POST /api/v1/namespaces/x/configmaps", body: `{"data":` + deep + `}`, code: 400},
		{request: "POST /api/v1/namespaces/x/configmaps", body: bomb, headers: []string{"Content-Type: application/yaml"}, code: 400},
		{request: "POST /api/v1/namespaces/x/configmaps", body: `{"kind":"Pod","apiVersion":"v1"}`, code: 400, message: "unrecognized"},
		{request: "POST /api/v1/namespaces/x/configmaps", body: `{"metadata":{"namespace":"y"}}`, code: 400, message: "namespace"},
		{request: "POST /api/v1/nodes", body: `{"metadata":{"name":"n","namespace":"y"}}`, code: 400, message: "namespace"},
		{request: "PUT /api/v1/namespaces/x/configmaps/a", body: `{"metadata":{"name":"b"}}`, code: 400, message: "does not match the name on the URL"},
		{request: "POST /api/v1/namespaces/x/configmaps", body: "k8s\x00\xff\xff", headers: []string{"Content-Type: application/vnd.kubernetes.protobuf"}, code: 400},
		{request: "POST /api/v1/namespaces/x/configmaps", body: "hello", headers: []string{"Content-Type: application/vnd.kubernetes.protobuf"}, code: 400},
		{request: "POST /apis/games.example.com/v1/namespaces/x/fleets", body: "k8s\x00", headers: []string{"Content-Type: application/vnd.kubernetes.protobuf"}, code: 415},
		{request: "POST /api/v1/namespaces/x/configmaps", body: "x", headers: []string{"Content-Type: application/cbor"}, code: 415, reason: metav1.StatusReasonUnsupportedMediaType},
		{request: "POST /api/v1/namespaces/x/configmaps", body: "x", headers: []string{"Content-Type: ;;"}, code: 415},
		{request: "POST /api/v1/namespaces/x/configmaps", body: "{}", headers: []string{"Content-Encoding: gzip"}, code: 415},
		{request: "POST /api/v1/namespaces/x/configmaps", body: strings.Repeat(" ", 3<<20+1), code: 413, reason: metav1.StatusReasonRequestEntityTooLarge},
		{request: "POST /api/v1/namespaces/x/configmaps?dryRun=Some", body: "{}", code: 422, message: `CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"`},
		{request: "POST /api/v1/namespaces/x/configmaps?fieldValidation=Maybe", body: "{}", code: 422, message: "fieldValidation: Unsupported value"},
		{request: "POST /api/v1/namespaces/x/configmaps?fieldManager=" + strings.Repeat("m", 129), body: "{}", code: 422, message: "fieldManager: Too long: may not be more than 128 bytes"},
		{request: "PUT /api/v1/namespaces/x/configmaps/a?fieldManager=a%0ab", body: "{}", code: 422, message: `fieldManager: Invalid value: "a\nb": invalid character U+000A (at position 1)`},
		{request: "POST /api/v1/namespaces/x/configmaps?fieldValidation=Strict", body: `{"metadata":{"name":"a"},"dta":{},"data":{"a":"1","a":"2"}}`, code: 400, message: `strict decoding error: unknown field "dta", duplicate field "data.a"`},
		{request: "PATCH /api/v1/namespaces/x/pods/p", body: "{}", code: 415},
		{request: "PATCH /api/v1/namespaces/x/pods/p", body: "{}", headers: []string{"Content-Type: application/json"}, code: 415},
		{request: "PATCH /apis/games.example.com/v1/namespaces/x/fleets/f", body: "{}", headers: []string{"Content-Type: application/strategic-merge-patch+json"}, code: 415},
		{request: "PATCH /api/v1/namespaces/x/pods/p", body: "{}", headers: []string{"Content-Type: application/apply-patch+yaml"}, code: 422, message: "fieldManager: Required value: is required for apply patch"},
		{request: "PATCH /api/v1/namespaces/x/pods/p?force=true", body: "{}", headers: []string{"Content-Type: application/merge-patch+json"}, code: 422, message: "force: Forbidden: may not be specified for non-apply patch"},
		{request: "DELETE /api/v1/namespaces/x/pods/p?propagationPolicy=Away", code: 422, message: "propagationPolicy: Unsupported value"},
		{request: "DELETE /api/v1/namespaces/x/pods/p", body: `{"kind":"Pod"}`, code: 400, message: "delete options"},
		{request: "GET /api/v1/pods", headers: []string{"X-Much: " + strings.Repeat("x", 129<<10)}, code: 431},
	} {
		name := tt.request
		if len(name) > 80 {
			name = name[:80]
		}
		t.Run(name, func(t *testing.T) {
			f := &fake{}
			method, target, _ := strings.Cut(tt.request, " ")
			w := ask(handler(t, f), method, target, tt.body, tt.headers...)
			s := statusIn(t, w)
			require.Equal(t, tt.code, w.Code, s.Message)
			require.Equal(t, "Status", s.Kind)
			require.Equal(t, "v1", s.APIVersion)
			require.Equal(t, metav1.StatusFailure, s.Status)
			require.EqualValues(t, tt.code, s.Code)
			require.NotEmpty(t, s.Reason)
			if tt.reason != "" {
				require.Equal(t, tt.reason, s.Reason)
			}
			require.Contains(t, s.Message, tt.message)
			require.Nil(t, f.request(), "a refused request reached the client")
		})
	}
}

// statusIn decodes an answer that must be a Status, in whatever form it was asked for.
func statusIn(t *testing.T, w *httptest.ResponseRecorder) metav1.Status {
	var s metav1.Status
	switch w.Header().Get("Content-Type") {
	case "application/vnd.kubernetes.protobuf":
		raw, gvk, err := kind.OpenEnvelope(w.Body.Bytes())
		require.NoError(t, err)
		require.NoError(t, s.Unmarshal(raw))
		s.APIVersion, s.Kind = gvk.Version, gvk.Kind
	default:
		require.NoError(t, yaml.Unmarshal(w.Body.Bytes(), &s), w.Body.String())
	}
	return s
}

func TestFieldValidationWarnsByDefault(t *testing.T) {
	const body = `{"metadata":{"name":"a"},"dta":{"x":"y"}}`
	f := &fake{}
	h := handler(t, f)
	w := ask(h, "POST", "/api/v1/namespaces/x/configmaps", body)
	require.Equal(t, 201, w.Code)
	require.Equal(t, []string{`299 - "unknown field \"dta\""`}, w.Header().Values("Warning"))
	w = ask(h, "POST", "/api/v1/namespaces/x/configmaps?fieldValidation=Ignore", body)
	require.Equal(t, 201, w.Code)
	require.Empty(t, w.Header().Values("Warning"))
	w = ask(h, "POST", "/api/v1/namespaces/x/configmaps?fieldValidation=Strict", "metadata: {name: a}\ndata: {a: b}\ndata: {a: c}\n", "Content-Type: application/yaml")
	require.Equal(t, 400, w.Code)
	require.Contains(t, w.Body.String(), "already set in map")
}

func TestProtobufBodies(t *testing.T) {
	data, err := kind.Deployment.Kind().EncodeProtobuf(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d"}})
	require.NoError(t, err)
	f := &fake{}
	w := ask(handler(t, f), "POST", "/apis/apps/v1/namespaces/x/deployments", string(data), "Content-Type: application/vnd.kubernetes.protobuf")
	require.Equal(t, 201, w.Code, w.Body.String())
	require.Equal(t, "d", f.request().Object.(*appsv1.Deployment).Name)

	raw, err := (&metav1.DeleteOptions{GracePeriodSeconds: new(int64(9))}).Marshal()
	require.NoError(t, err)
	data, err = kind.Envelope("v1", "DeleteOptions", raw)
	require.NoError(t, err)
	w = ask(handler(t, f), "DELETE", "/api/v1/namespaces/x/pods/p", string(data), "Content-Type: application/vnd.kubernetes.protobuf")
	require.Equal(t, 200, w.Code, w.Body.String())
	require.EqualValues(t, 9, *f.request().Delete.GracePeriodSeconds)
}

func TestSubresourceBodiesHaveTheirOwnKinds(t *testing.T) {
	f := &fake{}
	w := ask(handler(t, f), "PUT", "/apis/apps/v1/namespaces/x/deployments/d/scale", `{"apiVersion":"autoscaling/v1","kind":"Scale","spec":{"replicas":4}}`)
	require.Equal(t, 200, w.Code, w.Body.String())
	require.EqualValues(t, 4, f.request().Object.(*autoscalingv1.Scale).Spec.Replicas)
	require.Contains(t, w.Body.String(), `"kind":"Scale"`)
	w = ask(handler(t, f), "POST", "/api/v1/namespaces/x/pods/p/binding", `{"target":{"name":"n"}}`)
	require.Equal(t, 201, w.Code)
	require.Equal(t, "n", f.request().Object.(*corev1.Binding).Target.Name)
	require.Contains(t, w.Body.String(), `"status":"Success"`)
}
