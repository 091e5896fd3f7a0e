package wire_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/wire"
)

// realPod is a pod as large as those of a Deployment are.
func realPod(i int) *corev1.Pod {
	p := pod("default", fmt.Sprintf("web-7d4b9c6f5-%05d", i))
	p.ResourceVersion = fmt.Sprint(1000 + i)
	p.UID = "4ee8f6f4-0000-4000-8000-0123456789ab"
	p.GenerateName = "web-7d4b9c6f5-"
	p.Labels = map[string]string{"app": "web", "tier": "front", "pod-template-hash": "7d4b9c6f5"}
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-7d4b9c6f5", UID: "0c0ffee0-0000-4000-8000-0123456789ab", Controller: new(true)}}
	p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "controller", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{
		Raw: []byte(`{"f:metadata":{"f:generateName":{},"f:labels":{".":{},"f:app":{},"f:pod-template-hash":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:image":{},"f:name":{}}}}}`),
	}}}
	p.Spec.Containers = []corev1.Container{{
		Name: "web", Image: "registry.example.com/web:1.2.3", Args: []string{"--listen=<&>", "--level=info"}, ImagePullPolicy: corev1.PullIfNotPresent,
		Env: []corev1.EnvVar{{Name: "MODE", Value: "production"}}, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
		TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
	}}
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.0.%d.%d", i>>8&255, i&255), Conditions: []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionTrue}, {Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}}
	return p
}

// holding is a client that lists n real pods, with their forms as a server has them.
func holding(t testing.TB, n int) (*fake, *client.Response) {
	resp := &client.Response{Revision: 20000}
	for i := range n {
		p := realPod(i)
		stored := kind.Pod.Copy(p)
		stored.ResourceVersion = ""
		data, err := kind.Pod.Kind().EncodeProtobuf(stored)
		require.NoError(t, err)
		of := new(client.Forms)
		of.Init(data)
		resp.Items, resp.ItemForms = append(resp.Items, p), append(resp.ItemForms, of)
	}
	return &fake{do: func(context.Context, *client.Request) (*client.Response, error) {
		copied := *resp
		return &copied, nil
	}}, resp
}

var listForms = map[string]string{
	"JSON":              "application/json",
	"protobuf":          "application/vnd.kubernetes.protobuf",
	"table":             "application/json;as=Table;v=v1;g=meta.k8s.io",
	"metadata":          "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
	"metadata v1beta1":  "application/json;as=PartialObjectMetadataList;v=v1beta1;g=meta.k8s.io",
	"metadata protobuf": "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
}

// TestLongListsArePieces holds that a list is the same whether it is sent in pieces, compressed in pieces, or made as a whole.
func TestLongListsArePieces(t *testing.T) {
	f, resp := holding(t, 700)
	h := handler(t, f)
	names := func(t *testing.T, form string, body []byte) (got []string) {
		switch form {
		case "protobuf":
			raw, gvk, err := kind.OpenEnvelope(body)
			require.NoError(t, err)
			require.Equal(t, "PodList", gvk.Kind)
			var l corev1.PodList
			require.NoError(t, l.Unmarshal(raw))
			want := corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "20000"}}
			for _, obj := range resp.Items {
				p := *obj.(*corev1.Pod)
				p.TypeMeta = metav1.TypeMeta{}
				want.Items = append(want.Items, p)
				got = append(got, p.Name+" "+p.ResourceVersion)
			}
			require.Equal(t, want, l)
			data, err := want.Marshal()
			require.NoError(t, err)
			require.Equal(t, data, raw, "byte for byte what the generated code writes")
		case "metadata protobuf":
			raw, gvk, err := kind.OpenEnvelope(body)
			require.NoError(t, err)
			require.Equal(t, "PartialObjectMetadataList", gvk.Kind)
			var l metav1.PartialObjectMetadataList
			require.NoError(t, l.Unmarshal(raw))
			for _, m := range l.Items {
				got = append(got, m.Name+" "+m.ResourceVersion)
			}
		case "table":
			var l metav1.Table
			require.NoError(t, json.Unmarshal(body, &l))
			for _, row := range l.Rows {
				var m metav1.PartialObjectMetadata
				require.NoError(t, json.Unmarshal(row.Object.Raw, &m))
				require.Equal(t, m.Name, row.Cells[0])
				got = append(got, m.Name+" "+m.ResourceVersion)
			}
		default:
			var l corev1.PodList
			require.NoError(t, json.Unmarshal(body, &l))
			for i := range l.Items {
				m := &l.Items[i]
				got = append(got, m.Name+" "+m.ResourceVersion)
				if form == "JSON" {
					require.Equal(t, *resp.Items[i].(*corev1.Pod), *m)
				} else {
					require.Equal(t, "PartialObjectMetadata", m.Kind)
				}
			}
		}
		return got
	}
	for form, accept := range listForms {
		t.Run(form, func(t *testing.T) {
			plain := ask(h, "GET", "/api/v1/pods", "", "Accept: "+accept)
			require.Equal(t, 200, plain.Code)
			require.Empty(t, plain.Header().Get("Content-Encoding"))
			got := names(t, form, plain.Body.Bytes())
			require.Len(t, got, 700)
			require.Equal(t, "web-7d4b9c6f5-00699 1699", got[699])
			for range 2 { // made, and then from what was kept
				w := ask(h, "GET", "/api/v1/pods", "", "Accept: "+accept, "Accept-Encoding: gzip")
				require.Equal(t, "gzip", w.Header().Get("Content-Encoding"))
				require.Less(t, w.Body.Len(), plain.Body.Len()/4)
				z, err := gzip.NewReader(w.Body)
				require.NoError(t, err)
				data, err := io.ReadAll(z)
				require.NoError(t, err)
				if form != "table" { // which tells the time
					require.True(t, bytes.Equal(plain.Body.Bytes(), data), "compressed, it is another list")
				}
			}
		})
	}
	t.Run("one object changed", func(t *testing.T) {
		accept := []string{"Accept: application/json", "Accept-Encoding: gzip"}
		ask(h, "GET", "/api/v1/pods", "", accept...)
		changed := kind.Pod.Copy(resp.Items[350].(*corev1.Pod))
		changed.ResourceVersion, changed.Status.Phase = "20001", corev1.PodFailed
		resp.Items[350], resp.ItemForms[350] = changed, new(client.Forms)
		z, err := gzip.NewReader(ask(h, "GET", "/api/v1/pods", "", accept...).Body)
		require.NoError(t, err)
		var l corev1.PodList
		require.NoError(t, json.NewDecoder(z).Decode(&l))
		require.Equal(t, corev1.PodFailed, l.Items[350].Status.Phase)
		require.Equal(t, corev1.PodRunning, l.Items[349].Status.Phase)
	})
}

// TestListsForPeople holds that tools that show answers as they come get them with line breaks, and others don't.
func TestListsForPeople(t *testing.T) {
	h := handler(t, answers(2))
	for header, pretty := range map[string]bool{
		"User-Agent: curl/8.0": true, "User-Agent: Mozilla/5.0 (X11)": true, "User-Agent: kubectl/v1.37.2": false, "Accept: application/json;pretty=1": true,
	} {
		for _, path := range []string{"/api/v1/pods", "/api/v1/namespaces/x/pods/p", "/api/v1/namespaces/x/nothing", "/api"} {
			body := ask(h, "GET", path, "", header).Body.String()
			require.Equal(t, pretty, strings.Contains(body, "\n  \""), "%s %s: %s", header, path, body)
			require.Equal(t, !pretty, strings.HasSuffix(body, "}\n"), "%s %s: %s", header, path, body)
			body = ask(h, "GET", path+"?pretty=false", "", "User-Agent: curl/8.0").Body.String()
			require.NotContains(t, body, "\n  \"")
		}
	}
}

// meter takes an answer and counts it.
type meter struct {
	header http.Header
	bytes  int
}

func (m *meter) Header() http.Header { return m.header }
func (m *meter) WriteHeader(int)     {}
func (m *meter) Write(data []byte) (int, error) {
	m.bytes += len(data)
	return len(data), nil
}

// BenchmarkList10000 makes lists of 10,000 pods that others have asked for before: the forms are there.
func BenchmarkList10000(b *testing.B) {
	f, _ := holding(b, 10000)
	h := handler(b, f)
	for _, form := range []string{"JSON", "protobuf", "table", "metadata"} {
		for _, encoding := range []string{"identity", "gzip"} {
			b.Run(form+"/"+encoding, func(b *testing.B) {
				r := httptest.NewRequest("GET", "http://api/api/v1/pods", nil)
				r.Header.Set("Accept", listForms[form])
				r.Header.Set("Accept-Encoding", encoding)
				m := &meter{header: http.Header{}}
				h.ServeHTTP(m, r)
				b.ReportAllocs()
				for b.Loop() {
					m.header, m.bytes = http.Header{}, 0
					h.ServeHTTP(m, r)
				}
				b.SetBytes(int64(m.bytes))
			})
		}
	}
}

// TestListMemory holds that a list of 10,000 pods takes less than 5 MB beside what is kept for everybody.
func TestListMemory(t *testing.T) {
	f, _ := holding(t, 10000)
	h := handler(t, f, func(c *wire.Config) { c.FormBytes = 64 << 20 })
	for form, accept := range listForms {
		for _, encoding := range []string{"identity", "gzip"} {
			r := httptest.NewRequest("GET", "http://api/api/v1/pods", nil)
			r.Header.Set("Accept", accept)
			r.Header.Set("Accept-Encoding", encoding)
			h.ServeHTTP(&meter{header: http.Header{}}, r)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			m := &meter{header: http.Header{}}
			h.ServeHTTP(m, r)
			runtime.ReadMemStats(&after)
			t.Logf("%s %s: %d bytes sent, %d allocated", form, encoding, m.bytes, after.TotalAlloc-before.TotalAlloc)
			if form != "table" && form != "metadata v1beta1" { // rows are made anew, and so much is allocated, one after the other
				require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(5<<20), "%s %s", form, encoding)
			}
		}
	}
}
