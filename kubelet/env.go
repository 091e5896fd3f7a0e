package kubelet

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// errAbsent is the sentinel for a ConfigMap, a Secret or a key of one that a pod needs and that isn't there (yet).
var errAbsent = errors.New("not found")

// lookup reads the objects that a pod refers to, in the pod's namespace. What does not exist is errAbsent.
type lookup interface {
	ConfigMap(name string) (*corev1.ConfigMap, error)
	Secret(name string) (*corev1.Secret, error)
}

// envInput is what a container's environment is made from.
type envInput struct {
	pod       *corev1.Pod // with its status' addresses set to those of the sandbox
	container *corev1.Container
	objects   lookup
	services  []*corev1.Service // of the pod's namespace, and default/kubernetes
	node      corev1.ResourceList
}

// envVar is one variable.
type envVar struct{ name, value string }

// render gives the container's environment: services, envFrom, env, where later ones replace earlier ones. A literal may
// refer to anything before it.
func (in *envInput) render() ([]envVar, error) {
	service := serviceEnv(in.services, in.pod.Namespace, in.pod.Spec.EnableServiceLinks == nil || *in.pod.Spec.EnableServiceLinks)
	values := map[string]string{}
	var order []string
	set := func(name, value string) {
		if _, ok := values[name]; !ok {
			order = append(order, name)
		}
		values[name] = value
	}
	for i := range in.container.EnvFrom {
		if err := in.from(&in.container.EnvFrom[i], set); err != nil {
			return nil, err
		}
	}
	find := func(name string) (string, bool) {
		if v, ok := values[name]; ok {
			return v, true
		}
		v, ok := service[name]
		return v, ok
	}
	for i := range in.container.Env {
		e := &in.container.Env[i]
		value, ok, err := in.value(e, find)
		if err != nil {
			return nil, fmt.Errorf("environment variable %s: %w", e.Name, err)
		}
		if ok {
			set(e.Name, value)
		}
	}
	var out []envVar
	for _, name := range slices.Sorted(maps.Keys(service)) {
		if _, ok := values[name]; !ok {
			out = append(out, envVar{name, service[name]})
		}
	}
	for _, name := range order {
		out = append(out, envVar{name, values[name]})
	}
	return out, nil
}

func (in *envInput) from(src *corev1.EnvFromSource, set func(name, value string)) error {
	data := map[string]string{}
	switch {
	case src.ConfigMapRef != nil:
		cm, err := in.objects.ConfigMap(src.ConfigMapRef.Name)
		if errors.Is(err, errAbsent) && optional(src.ConfigMapRef.Optional) {
			return nil
		}
		if err != nil {
			return err
		}
		data = cm.Data
	case src.SecretRef != nil:
		s, err := in.objects.Secret(src.SecretRef.Name)
		if errors.Is(err, errAbsent) && optional(src.SecretRef.Optional) {
			return nil
		}
		if err != nil {
			return err
		}
		for k, v := range s.Data {
			data[k] = string(v)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(data)) {
		if name := src.Prefix + k; len(validation.IsRelaxedEnvVarName(name)) == 0 {
			set(name, data[k])
		}
	}
	return nil
}

// value is one variable's value; false leaves it out (an optional source that does not exist).
func (in *envInput) value(e *corev1.EnvVar, find func(string) (string, bool)) (string, bool, error) {
	src := e.ValueFrom
	if src == nil {
		return expand(e.Value, find), true, nil
	}
	switch {
	case src.FieldRef != nil:
		v, err := fieldValue(in.pod, src.FieldRef.FieldPath)
		return v, err == nil, err
	case src.ResourceFieldRef != nil:
		v, err := resourceValue(in.pod, in.container, src.ResourceFieldRef, in.node)
		return v, err == nil, err
	case src.ConfigMapKeyRef != nil:
		ref := src.ConfigMapKeyRef
		cm, err := in.objects.ConfigMap(ref.Name)
		if err == nil {
			if v, ok := cm.Data[ref.Key]; ok {
				return v, true, nil
			}
			err = fmt.Errorf("couldn't find key %s in ConfigMap %s/%s: %w", ref.Key, in.pod.Namespace, ref.Name, errAbsent)
		}
		return skipAbsent(err, ref.Optional)
	case src.SecretKeyRef != nil:
		ref := src.SecretKeyRef
		s, err := in.objects.Secret(ref.Name)
		if err == nil {
			if v, ok := s.Data[ref.Key]; ok {
				return string(v), true, nil
			}
			err = fmt.Errorf("couldn't find key %s in Secret %s/%s: %w", ref.Key, in.pod.Namespace, ref.Name, errAbsent)
		}
		return skipAbsent(err, ref.Optional)
	}
	return "", false, errors.New("valueFrom names a source that this agent does not know; it knows fieldRef, resourceFieldRef, configMapKeyRef and secretKeyRef")
}

func skipAbsent(err error, opt *bool) (string, bool, error) {
	if errors.Is(err, errAbsent) && optional(opt) {
		return "", false, nil
	}
	return "", false, err
}

func optional(b *bool) bool { return b != nil && *b }

// expand replaces $(NAME) by a variable's value; $$ stands for one $, and an unknown name stays as it is written.
// The syntax is that of container commands, args and env in the Kubernetes API.
func expand(s string, find func(string) (string, bool)) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i+1 == len(s) {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		switch s[i+1] {
		case '$':
			b.WriteByte('$')
			s = s[i+2:]
		case '(':
			end := strings.IndexByte(s[i:], ')')
			if end < 0 {
				b.WriteString(s[i:])
				return b.String()
			}
			name := s[i+2 : i+end]
			if v, ok := find(name); ok {
				b.WriteString(v)
			} else {
				b.WriteString(s[i : i+end+1])
			}
			s = s[i+end+1:]
		default:
			b.WriteString(s[i : i+2])
			s = s[i+2:]
		}
	}
}

// serviceEnv is the variables that tell about Services: those of the namespace when links is set, and the API server's
// (default/kubernetes) always. The docker-link forms are there too.
func serviceEnv(services []*corev1.Service, namespace string, links bool) map[string]string {
	out := map[string]string{}
	for _, master := range []bool{true, false} {
		for _, svc := range services {
			isMaster := svc.Namespace == "default" && svc.Name == "kubernetes"
			if isMaster != master || !isMaster && (!links || svc.Namespace != namespace) {
				continue
			}
			if ip := svc.Spec.ClusterIP; ip != "" && ip != corev1.ClusterIPNone && len(svc.Spec.Ports) > 0 {
				oneService(out, svc)
			}
		}
	}
	return out
}

func oneService(out map[string]string, svc *corev1.Service) {
	prefix, ip := envName(svc.Name), svc.Spec.ClusterIP
	host := ip
	if strings.Contains(ip, ":") {
		host = "[" + ip + "]"
	}
	out[prefix+"_SERVICE_HOST"] = ip
	out[prefix+"_SERVICE_PORT"] = strconv.Itoa(int(svc.Spec.Ports[0].Port))
	for i, p := range svc.Spec.Ports {
		port, protocol := strconv.Itoa(int(p.Port)), string(p.Protocol)
		if protocol == "" {
			protocol = "TCP"
		}
		if p.Name != "" {
			out[prefix+"_SERVICE_PORT_"+envName(p.Name)] = port
		}
		url := strings.ToLower(protocol) + "://" + host + ":" + port
		if i == 0 {
			out[prefix+"_PORT"] = url
		}
		link := prefix + "_PORT_" + port + "_" + strings.ToUpper(protocol)
		out[link] = url
		out[link+"_PROTO"] = strings.ToLower(protocol)
		out[link+"_PORT"] = port
		out[link+"_ADDR"] = ip
	}
}

func envName(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }
