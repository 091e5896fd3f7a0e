package kubelet

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/keelson-dev/keelson/apiserver/client"
)

// issuer is a client that only issues tokens.
type issuer struct {
	client.Client
	asked int
}

func (i *issuer) Do(_ context.Context, req *client.Request) (*client.Response, error) {
	if req.Subresource != "token" {
		return nil, fmt.Errorf("unexpected %s %s", req.Verb, req.Kind)
	}
	i.asked++
	out := *req.Object.(*authenticationv1.TokenRequest)
	out.Status = authenticationv1.TokenRequestStatus{
		Token: fmt.Sprintf("token-%d-%s", i.asked, out.Spec.Audiences), ExpirationTimestamp: metav1.NewTime(time.Now().Add(time.Hour)),
	}
	return &client.Response{Object: &out}, nil
}

func testVolumes(t *testing.T, objects shelf) (*volumes, *issuer) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, root.Close()) })
	c := &issuer{}
	return &volumes{
		root: root, path: dir, client: c, tokens: map[string]token{},
		objects: func(context.Context, *corev1.Pod) lookup { return objects },
	}, c
}

func TestVolumes(t *testing.T) {
	objects := shelf{
		map[string]map[string]string{"cm": {"a": "1", "b": "2"}},
		map[string]map[string][]byte{"sec": {"key": []byte("s")}},
	}
	for name, tc := range map[string]struct {
		in   string
		want map[string]string
		err  string
	}{
		"configMap":  {in: `configMap: {name: cm}`, want: map[string]string{"a": "1 -rw-r--r--", "b": "2 -rw-r--r--"}},
		"items":      {in: `configMap: {name: cm, defaultMode: 0400, items: [{key: a, path: x/y}, {key: b, path: z, mode: 0600}]}`, want: map[string]string{"x/y": "1 -r--------", "z": "2 -rw-------"}},
		"secret":     {in: `secret: {secretName: sec, defaultMode: 0440}`, want: map[string]string{"key": "s -r--r-----"}},
		"absent":     {in: `configMap: {name: nil1}`, err: `configmap "nil1" not found`},
		"optional":   {in: `secret: {secretName: nil1, optional: true}`, want: map[string]string{}},
		"absent key": {in: `secret: {secretName: sec, items: [{key: z, path: z}]}`, err: `secret sec has no key "z"`},
		"escape":     {in: `configMap: {name: cm, items: [{key: a, path: ../../x}]}`, err: "without .."},
		"emptyDir":   {in: `emptyDir: {}`, want: map[string]string{}},
		"downward": {in: `downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}, {path: c, resourceFieldRef: {containerName: main, resource: limits.cpu}}]}`,
			want: map[string]string{"labels": "app=\"web\"\ntier=\"1\" -rw-r--r--", "c": "3 -rw-r--r--"}},
		"projected": {in: `
projected:
  sources:
  - configMap: {name: cm, items: [{key: a, path: a}]}
  - secret: {name: sec}
  - downwardAPI: {items: [{path: nm, fieldRef: {fieldPath: metadata.name}}]}
  - serviceAccountToken: {path: token, audience: me}`,
			want: map[string]string{"a": "1 -rw-r--r--", "key": "s -rw-r--r--", "nm": "p -rw-r--r--", "token": "token-1-[me] -rw-r--r--"}},
		"unknown": {in: `nfs: {server: a, path: b}`, err: "this agent knows"},
	} {
		t.Run(name, func(t *testing.T) {
			v, _ := testVolumes(t, objects)
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Labels: map[string]string{"app": "web", "tier": "1"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}}, Volumes: make([]corev1.Volume, 1)},
			}
			require.NoError(t, yaml.Unmarshal([]byte(`limits: {cpu: 3}`), &pod.Spec.Containers[0].Resources))
			require.NoError(t, yaml.UnmarshalStrict([]byte(tc.in), &pod.Spec.Volumes[0]))
			pod.Spec.Volumes[0].Name = "v"
			_, err := v.prepare(t.Context(), pod)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			dir := filepath.Join(v.path, "pods/u/volumes/v")
			got := map[string]string{}
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			for _, e := range entries {
				if e.Name()[0] == '.' {
					continue
				}
				at, err := filepath.EvalSymlinks(filepath.Join(dir, e.Name()))
				require.NoError(t, err)
				require.NoError(t, filepath.WalkDir(at, func(p string, d fs.DirEntry, err error) error {
					if err != nil || d.IsDir() {
						return err
					}
					info, err := d.Info()
					require.NoError(t, err)
					data, err := os.ReadFile(p)
					if os.IsPermission(err) {
						data, err = []byte("?"), nil
					}
					rel, _ := filepath.Rel(filepath.Dir(at), p)
					got[filepath.ToSlash(rel)] = fmt.Sprintf("%s %v", data, info.Mode().Perm())
					return err
				}))
			}
			require.Equal(t, tc.want, got)
			require.NoError(t, v.forget("u"))
			require.NoDirExists(t, filepath.Join(v.path, "pods/u"))
		})
	}
}

func TestTokensAreKeptUntilTheyAreOld(t *testing.T) {
	v, c := testVolumes(t, shelf{})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}}
	require.NoError(t, yaml.Unmarshal([]byte(`volumes: [{name: t, projected: {sources: [{serviceAccountToken: {path: token}}]}}]`), &pod.Spec))
	again, err := v.prepare(t.Context(), pod)
	require.NoError(t, err)
	require.InDelta(t, 48*time.Minute, time.Until(again), float64(time.Minute), "renewed after four fifths of an hour")
	_, err = v.prepare(t.Context(), pod)
	require.NoError(t, err)
	require.Equal(t, 1, c.asked)
	for key, old := range v.tokens {
		old.renewAt = time.Now()
		v.tokens[key] = old
	}
	_, err = v.prepare(t.Context(), pod)
	require.NoError(t, err)
	require.Equal(t, 2, c.asked)
}

func TestSubPaths(t *testing.T) {
	v, _ := testVolumes(t, shelf{map[string]map[string]string{"cm": {"a": "1"}}, nil})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}}
	require.NoError(t, yaml.Unmarshal([]byte(`volumes: [{name: cm, configMap: {name: cm}}, {name: e, emptyDir: {}}, {name: h, hostPath: {path: /srv}}]`), &pod.Spec))
	_, err := v.prepare(t.Context(), pod)
	require.NoError(t, err)
	find := func(name string) (string, bool) { return "pod-7", name == "POD" }
	host := func(m corev1.VolumeMount) string {
		p, err := v.hostOf(pod, &m, find)
		require.NoError(t, err)
		return p
	}
	data, err := os.ReadFile(host(corev1.VolumeMount{Name: "cm", SubPath: "a"}))
	require.NoError(t, err)
	require.Equal(t, "1", string(data))
	require.DirExists(t, host(corev1.VolumeMount{Name: "e", SubPathExpr: "$(POD)/x"}))
	require.Equal(t, filepath.FromSlash("/srv/d"), host(corev1.VolumeMount{Name: "h", SubPath: "d"}))
	require.NoError(t, os.Symlink("/etc", filepath.Join(v.path, "pods/u/volumes/e/link")))
	for _, bad := range []corev1.VolumeMount{
		{Name: "no"}, {Name: "e", SubPath: "../x"}, {Name: "e", SubPath: "link/passwd"}, {Name: "cm", SubPath: "z"}, {Name: "e", SubPathExpr: "$(NO)"},
	} {
		_, err := v.hostOf(pod, &bad, find)
		require.Error(t, err, bad)
	}
}
