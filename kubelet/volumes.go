package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/kubelet/volume"
)

// volumes prepares a pod's volumes below the agent's root.
type volumes struct {
	root    *os.Root
	path    string // of root
	client  client.Client
	node    corev1.ResourceList
	mu      sync.Mutex
	tokens  map[string]token // by pod uid, volume and path
	objects func(ctx context.Context, pod *corev1.Pod) lookup
}

type token struct {
	value   string
	renewAt time.Time
}

func podDir(uid string) string { return path.Join("pods", uid) }

func volumeDir(uid, name string) string { return path.Join(podDir(uid), "volumes", name) }

// prepare makes all volumes of a pod, or brings them up to date. again is when that has to be repeated; zero means only
// when something the pod refers to changes.
func (v *volumes) prepare(ctx context.Context, pod *corev1.Pod) (again time.Time, err error) {
	for i := range pod.Spec.Volumes {
		vol := &pod.Spec.Volumes[i]
		at, err := v.one(ctx, pod, vol)
		if err != nil {
			return again, fmt.Errorf("volume %q: %w", vol.Name, err)
		}
		again = earliest(again, at)
	}
	return again, nil
}

func (v *volumes) one(ctx context.Context, pod *corev1.Pod, vol *corev1.Volume) (time.Time, error) {
	dir := volumeDir(string(pod.UID), vol.Name)
	files := volume.Files{}
	in := payload{volumes: v, ctx: ctx, pod: pod, objects: v.objects(ctx, pod), volume: vol.Name, files: files}
	var err error
	switch {
	case vol.EmptyDir != nil:
		return time.Time{}, volume.MakeDir(v.root, dir, 0o777)
	case vol.HostPath != nil:
		return time.Time{}, hostPath(vol.HostPath)
	case vol.ConfigMap != nil:
		s := vol.ConfigMap
		err = in.configMap(s.Name, s.Items, optional(s.Optional), mode(s.DefaultMode))
	case vol.Secret != nil:
		s := vol.Secret
		err = in.secret(s.SecretName, s.Items, optional(s.Optional), mode(s.DefaultMode))
	case vol.DownwardAPI != nil:
		err = in.downward(vol.DownwardAPI.Items, mode(vol.DownwardAPI.DefaultMode))
	case vol.Projected != nil:
		err = in.projected(vol.Projected)
	default:
		err = errors.New("this agent knows emptyDir, hostPath, configMap, secret, downwardAPI and projected volumes only")
	}
	if err != nil {
		return time.Time{}, err
	}
	_, err = volume.Write(v.root, dir, files)
	return in.again, err
}

func mode(m *int32) fs.FileMode {
	if m == nil {
		return 0o644
	}
	return fs.FileMode(*m).Perm()
}

// hostPath checks, or makes, what a hostPath volume names.
func hostPath(h *corev1.HostPathVolumeSource) error {
	if h.Type == nil || *h.Type == corev1.HostPathUnset {
		return nil
	}
	switch *h.Type {
	case corev1.HostPathDirectoryOrCreate:
		return os.MkdirAll(h.Path, 0o755)
	case corev1.HostPathFileOrCreate:
		f, err := os.OpenFile(h.Path, os.O_CREATE|os.O_RDONLY, 0o644)
		if err != nil {
			return err
		}
		return f.Close()
	}
	info, err := os.Stat(h.Path)
	if err != nil {
		return err
	}
	m := info.Mode()
	fits := map[corev1.HostPathType]bool{
		corev1.HostPathDirectory: m.IsDir(), corev1.HostPathFile: m.IsRegular(), corev1.HostPathSocket: m&fs.ModeSocket != 0,
		corev1.HostPathCharDev: m&fs.ModeCharDevice != 0, corev1.HostPathBlockDev: m&fs.ModeDevice != 0 && m&fs.ModeCharDevice == 0,
	}
	if !fits[*h.Type] {
		return fmt.Errorf("hostPath %s is a %v, want %s", h.Path, m.Type(), *h.Type)
	}
	return nil
}

// payload collects the files of one volume.
type payload struct {
	volumes *volumes
	ctx     context.Context
	pod     *corev1.Pod
	objects lookup
	volume  string
	files   volume.Files
	again   time.Time
}

func (p *payload) add(name string, data []byte, m fs.FileMode) error {
	if err := volume.Check(name); err != nil {
		return err
	}
	p.files[name] = volume.File{Data: data, Mode: m}
	return nil
}

// keys adds what items choose from data, or all of it.
func (p *payload) keys(what string, data map[string][]byte, items []corev1.KeyToPath, opt bool, m fs.FileMode) error {
	if len(items) == 0 {
		for k, d := range data {
			if err := p.add(k, d, m); err != nil {
				return err
			}
		}
		return nil
	}
	for _, item := range items {
		d, ok := data[item.Key]
		if !ok && opt {
			continue
		}
		if !ok {
			return fmt.Errorf("%s has no key %q: %w", what, item.Key, errAbsent)
		}
		im := m
		if item.Mode != nil {
			im = mode(item.Mode)
		}
		if err := p.add(item.Path, d, im); err != nil {
			return err
		}
	}
	return nil
}

func (p *payload) configMap(name string, items []corev1.KeyToPath, opt bool, m fs.FileMode) error {
	cm, err := p.objects.ConfigMap(name)
	if errors.Is(err, errAbsent) && opt {
		return nil
	}
	if err != nil {
		return err
	}
	data := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for k, s := range cm.Data {
		data[k] = []byte(s)
	}
	for k, b := range cm.BinaryData {
		data[k] = b
	}
	return p.keys("configmap "+name, data, items, opt, m)
}

func (p *payload) secret(name string, items []corev1.KeyToPath, opt bool, m fs.FileMode) error {
	s, err := p.objects.Secret(name)
	if errors.Is(err, errAbsent) && opt {
		return nil
	}
	if err != nil {
		return err
	}
	return p.keys("secret "+name, s.Data, items, opt, m)
}

func (p *payload) downward(items []corev1.DownwardAPIVolumeFile, m fs.FileMode) error {
	for i := range items {
		item, im := &items[i], m
		if item.Mode != nil {
			im = mode(item.Mode)
		}
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = fieldValue(p.pod, item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			value, err = resourceValue(p.pod, nil, item.ResourceFieldRef, p.volumes.node)
		default:
			err = errors.New("want fieldRef or resourceFieldRef")
		}
		if err != nil {
			return fmt.Errorf("file %q: %w", item.Path, err)
		}
		if err := p.add(item.Path, []byte(value), im); err != nil {
			return err
		}
	}
	return nil
}

func (p *payload) projected(src *corev1.ProjectedVolumeSource) error {
	m := mode(src.DefaultMode)
	for i := range src.Sources {
		s := &src.Sources[i]
		var err error
		switch {
		case s.ConfigMap != nil:
			err = p.configMap(s.ConfigMap.Name, s.ConfigMap.Items, optional(s.ConfigMap.Optional), m)
		case s.Secret != nil:
			err = p.secret(s.Secret.Name, s.Secret.Items, optional(s.Secret.Optional), m)
		case s.DownwardAPI != nil:
			err = p.downward(s.DownwardAPI.Items, m)
		case s.ServiceAccountToken != nil:
			err = p.token(s.ServiceAccountToken, m)
		default:
			err = errors.New("this agent projects configMap, secret, downwardAPI and serviceAccountToken only")
		}
		if err != nil {
			return fmt.Errorf("source %d: %w", i+1, err)
		}
	}
	return nil
}

// token adds a service account's token, asked of the API server and renewed when most of its time is over.
func (p *payload) token(src *corev1.ServiceAccountTokenProjection, m fs.FileMode) error {
	v := p.volumes
	key := path.Join(string(p.pod.UID), p.volume, src.Path)
	v.mu.Lock()
	t, ok := v.tokens[key]
	v.mu.Unlock()
	if !ok || !time.Now().Before(t.renewAt) {
		var err error
		if t, err = v.requestToken(p.ctx, p.pod, src); err != nil {
			return err
		}
		v.mu.Lock()
		v.tokens[key] = t
		v.mu.Unlock()
	}
	p.again = earliest(p.again, t.renewAt)
	return p.add(src.Path, []byte(t.value), m)
}

func (v *volumes) requestToken(ctx context.Context, pod *corev1.Pod, src *corev1.ServiceAccountTokenProjection) (token, error) {
	account := pod.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	seconds := int64(3600)
	if src.ExpirationSeconds != nil {
		seconds = *src.ExpirationSeconds
	}
	req := &authenticationv1.TokenRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: account},
		Spec: authenticationv1.TokenRequestSpec{
			ExpirationSeconds: &seconds,
			BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
		},
	}
	if src.Audience != "" {
		req.Spec.Audiences = []string{src.Audience}
	}
	now := time.Now()
	resp, err := v.client.Do(ctx, &client.Request{
		Verb: client.Create, Kind: kind.ServiceAccount.Kind(), Subresource: "token",
		Namespace: pod.Namespace, Name: account, Object: req,
	})
	if err != nil {
		return token{}, fmt.Errorf("token of service account %s/%s: %w", pod.Namespace, account, err)
	}
	answer, ok := resp.Object.(*authenticationv1.TokenRequest)
	if !ok || answer.Status.Token == "" {
		return token{}, fmt.Errorf("token of service account %s/%s: the API server's answer holds none", pod.Namespace, account)
	}
	life := answer.Status.ExpirationTimestamp.Sub(now)
	return token{answer.Status.Token, now.Add(life * 4 / 5)}, nil
}

// hostOf is the path on the node of a volume mount of a container, subPath included.
func (v *volumes) hostOf(pod *corev1.Pod, m *corev1.VolumeMount, find func(string) (string, bool)) (string, error) {
	var vol *corev1.Volume
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Name == m.Name {
			vol = &pod.Spec.Volumes[i]
		}
	}
	if vol == nil {
		return "", fmt.Errorf("volumeMount %q: the pod has no such volume", m.Name)
	}
	sub := m.SubPath
	if m.SubPathExpr != "" {
		sub = expand(m.SubPathExpr, find)
		if strings.Contains(sub, "$(") {
			return "", fmt.Errorf("volumeMount %q: subPathExpr %q names an unknown variable", m.Name, m.SubPathExpr)
		}
	}
	if sub != "" && !fs.ValidPath(sub) {
		return "", fmt.Errorf("volumeMount %q: subPath %q: want a relative path without ..", m.Name, sub)
	}
	if vol.HostPath != nil {
		return filepath.Join(vol.HostPath.Path, filepath.FromSlash(sub)), nil
	}
	dir := volumeDir(string(pod.UID), vol.Name)
	if sub == "" {
		return filepath.Join(v.path, filepath.FromSlash(dir)), nil
	}
	full := path.Join(dir, sub)
	// Stat through the root refuses links that leave it. A file of a ConfigMap is a link to the present version.
	if _, err := v.root.Stat(full); errors.Is(err, fs.ErrNotExist) && vol.EmptyDir != nil {
		if err := v.root.MkdirAll(full, 0o777); err != nil {
			return "", fmt.Errorf("volumeMount %q: subPath: %w", m.Name, err)
		}
	} else if err != nil {
		return "", fmt.Errorf("volumeMount %q: subPath: %w", m.Name, err)
	}
	resolved, err := filepath.EvalSymlinks(filepath.Join(v.path, filepath.FromSlash(full)))
	if err != nil {
		return "", fmt.Errorf("volumeMount %q: subPath: %w", m.Name, err)
	}
	return resolved, nil
}

// forget removes what a pod has below the root.
func (v *volumes) forget(uid string) error {
	v.mu.Lock()
	for key := range v.tokens {
		if strings.HasPrefix(key, uid+"/") {
			delete(v.tokens, key)
		}
	}
	v.mu.Unlock()
	return v.root.RemoveAll(podDir(uid))
}
