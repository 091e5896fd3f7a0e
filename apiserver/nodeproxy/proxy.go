package nodeproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/client/stream"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// DefaultPort is where a node agent listens when its node does not say.
const DefaultPort = 10250

// DefaultContainerAnnotation names the container of a pod that is meant when a request names none.
const DefaultContainerAnnotation = "kubectl.kubernetes.io/default-container"

// Config says how to reach node agents. The zero Config dials addresses in plain HTTP, which is for tests.
type Config struct {
	// Dial opens a connection to a node's agent. Nil means TCP to the node's address and daemon port.
	Dial func(ctx context.Context, node *corev1.Node) (net.Conn, error)

	// TLS is the control plane's side: client certificate and the roots that node agents' certificates chain to.
	// Nil means plain HTTP. An empty ServerName means the node's name.
	TLS *tls.Config

	// Logger gets failures of proxied connections; nil means none.
	Logger *zap.Logger
}

// Proxy carries requests to node agents. It is safe for concurrent use and holds no connections between requests.
type Proxy struct {
	client client.Client
	cfg    Config
	log    *zap.Logger
}

// New makes a proxy. c reads pods and nodes, as the control plane's own user.
func New(c client.Client, cfg Config) (*Proxy, error) {
	if c == nil {
		return nil, errors.New("nodeproxy: a client is required, to look up pods and nodes")
	}
	p := &Proxy{client: c, cfg: cfg, log: cfg.Logger}
	if p.log == nil {
		p.log = zap.NewNop()
	}
	return p, nil
}

// Serves reports whether a pod's subresource is answered by its node agent.
func Serves(subresource string) bool {
	switch subresource {
	case "log", "exec", "attach", "portforward":
		return true
	}
	return false
}

// target is a node agent and what is asked of it.
type target struct {
	node *corev1.Node
	path string
	args url.Values
}

// ServeHTTP answers a request for a pod's subresource (log, exec, attach, portforward) by passing it to the node agent.
// The returned error is a status for the client, and nothing was written then; later failures end the connection.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request, namespace, pod, subresource string) error {
	t, err := p.locate(r.Context(), namespace, pod, subresource, r.URL.Query())
	if err != nil {
		return err
	}
	transport := p.transport(t.node)
	defer transport.CloseIdleConnections()
	rp := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1, // a followed log is read as it is written
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL = p.url(t)
			pr.Out.Host = ""
			pr.Out.Header.Del("Authorization") // the client's credentials are none of the node agent's business
			pr.Out.Header.Del("Cookie")
		},
		ModifyResponse: func(resp *http.Response) error {
			if resp.StatusCode >= http.StatusBadRequest {
				return stream.StatusError(resp) // agents speak in plain text, which clients of the API would not show
			}
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, proxyErr error) {
			if err = proxyErr; !errors.As(proxyErr, new(apierrors.APIStatus)) {
				err = p.unreachable(t, proxyErr)
			}
		},
	}
	rp.ServeHTTP(w, r)
	return err
}

func (p *Proxy) unreachable(t target, cause error) error {
	p.log.Warn("node agent not reachable", zap.String("node", t.node.Name), zap.Error(cause))
	return apierrors.NewInternalError(fmt.Errorf("the agent of node %s does not answer: %w", t.node.Name, cause))
}

func (p *Proxy) transport(node *corev1.Node) *http.Transport {
	tr := &http.Transport{
		DisableKeepAlives:  true,
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return p.dial(ctx, node)
		},
	}
	if p.cfg.TLS != nil {
		tr.TLSClientConfig = p.cfg.TLS.Clone()
		tr.TLSClientConfig.NextProtos = []string{"http/1.1"} // upgrades need it
		if tr.TLSClientConfig.ServerName == "" {
			tr.TLSClientConfig.ServerName = node.Name
		}
	}
	return tr
}

func (p *Proxy) dial(ctx context.Context, node *corev1.Node) (net.Conn, error) {
	if p.cfg.Dial != nil {
		return p.cfg.Dial(ctx, node)
	}
	address, err := Address(node)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}

// Address is where a node's agent listens: its internal address, or else its host name, and its daemon port.
func Address(node *corev1.Node) (string, error) {
	port := int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)
	if port == 0 {
		port = DefaultPort
	}
	for _, want := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeHostName, corev1.NodeExternalIP} {
		for _, a := range node.Status.Addresses {
			if a.Type == want && a.Address != "" {
				return net.JoinHostPort(a.Address, strconv.Itoa(port)), nil
			}
		}
	}
	return "", fmt.Errorf("node %s has no address in its status", node.Name)
}

func (p *Proxy) url(t target) *url.URL {
	u := &url.URL{Scheme: "http", Host: t.node.Name, Path: t.path, RawQuery: t.args.Encode()}
	if p.cfg.TLS != nil {
		u.Scheme = "https"
	}
	return u
}

// locate finds the agent and says what to ask it for.
func (p *Proxy) locate(ctx context.Context, namespace, name, subresource string, q url.Values) (target, error) {
	pod, err := client.For(p.client, kind.Pod).Get(ctx, namespace, name)
	if err != nil {
		return target{}, err
	}
	path, args, err := request(pod, subresource, q)
	if err != nil {
		return target{}, err
	}
	if pod.Spec.NodeName == "" {
		return target{}, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", name))
	}
	node, err := client.For(p.client, kind.Node).Get(ctx, "", pod.Spec.NodeName)
	if err != nil {
		return target{}, err
	}
	return target{node: node, path: path, args: args}, nil
}

// request is the node agent's path and parameters for what an API client asked of a pod.
func request(pod *corev1.Pod, subresource string, q url.Values) (string, url.Values, error) {
	if subresource == "portforward" {
		args := url.Values{}
		for _, port := range q["ports"] {
			args.Add("port", port)
		}
		return "/portForward/" + pod.Namespace + "/" + pod.Name, args, nil
	}
	container, err := containerOf(pod, q.Get("container"))
	if err != nil {
		return "", nil, err
	}
	tail := "/" + pod.Namespace + "/" + pod.Name + "/" + container
	switch subresource {
	case "log":
		args, err := logArgs(q)
		return "/containerLogs" + tail, args, err
	case "exec", "attach":
		args, err := execArgs(subresource, q)
		return "/" + subresource + tail, args, err
	}
	return "", nil, apierrors.NewBadRequest(fmt.Sprintf("pods have no %q that a node agent answers", subresource))
}

func logArgs(q url.Values) (url.Values, error) {
	args := url.Values{}
	for _, name := range []string{"follow", "timestamps", "previous"} {
		if truth(q.Get(name)) || len(q[name]) > 0 && q.Get(name) == "" {
			args.Set(name, "true")
		}
	}
	for _, name := range []string{"tailLines", "sinceSeconds", "limitBytes"} {
		v := q.Get(name)
		if v == "" {
			continue
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 || n == 0 && name != "tailLines" {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("%s=%q: want a number, more than zero", name, v))
		}
		args.Set(name, v)
	}
	for _, name := range []string{"sinceTime", "stream"} {
		if v := q.Get(name); v != "" {
			args.Set(name, v)
		}
	}
	return args, nil
}

func execArgs(subresource string, q url.Values) (url.Values, error) {
	args := url.Values{}
	streams := false
	for param, names := range map[string][2]string{"input": {"stdin", "input"}, "output": {"stdout", "output"}, "error": {"stderr", "error"}, "tty": {"tty", "tty"}} {
		if truth(q.Get(names[0])) || truth(q.Get(names[1])) {
			args.Set(param, "1")
			streams = streams || param != "tty"
		}
	}
	if !streams {
		return nil, apierrors.NewBadRequest("at least one of stdin, stdout and stderr must be asked for")
	}
	if subresource == "exec" {
		if len(q["command"]) == 0 {
			return nil, apierrors.NewBadRequest("a command is required, such as ?command=ls&command=-l")
		}
		args["command"] = q["command"]
	}
	return args, nil
}

func truth(s string) bool { return s == "1" || strings.EqualFold(s, "true") }

// containerOf checks a container's name, or finds the one that is meant when there is none.
func containerOf(pod *corev1.Pod, name string) (string, error) {
	var all []string
	for _, c := range pod.Spec.Containers {
		all = append(all, c.Name)
	}
	if name == "" {
		name = pod.Annotations[DefaultContainerAnnotation]
	}
	if name == "" {
		if len(all) == 1 {
			return all[0], nil
		}
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", pod.Name, strings.Join(all, " ")))
	}
	for _, c := range pod.Spec.InitContainers {
		all = append(all, c.Name)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		all = append(all, c.Name)
	}
	for _, c := range all {
		if c == name {
			return name, nil
		}
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s, choose one of: [%s]", name, pod.Name, strings.Join(all, " ")))
}
