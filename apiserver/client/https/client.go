package https

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/client/stream"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

const (
	mediaJSON     = "application/json"
	mediaProtobuf = "application/vnd.kubernetes.protobuf"

	maxAnswer     = 256 << 20 // bytes of one answer
	maxRetryAfter = time.Minute
	maxRetries    = 10
	pingAfter     = 30 * time.Second // of silence on an HTTP/2 connection
	pingTimeout   = 15 * time.Second
	defaultAgent  = "keelson"
)

// Config says where the server is and how to be somebody there. Server is required.
type Config struct {
	Server string // URL, such as https://127.0.0.1:6443

	CAData     []byte // PEM of the authorities that the server's certificate may chain to; empty: the system's
	ServerName string // name that the server's certificate must have; empty: the host of Server
	CertData   []byte // PEM of a client certificate; empty: none
	KeyData    []byte // PEM of its key
	Token      string // bearer token; empty: none
	Insecure   bool   // do not check the server's certificate: for tests alone

	// Dial opens connections; nil means the net package's dialer. In one process give it a memory listener's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	UserAgent string // empty: keelson
	JSON      bool   // use JSON for built-in kinds too, for servers without protobuf
}

// Client is a client.Client and client.Streamer over HTTPS.
type Client struct {
	cfg       Config
	base      *url.URL
	http      *http.Client
	transport *http.Transport
	stream    *http.Client // HTTP/1.1, for connections that are upgraded
	upgrades  *http.Transport
}

var (
	_ client.Client   = (*Client)(nil)
	_ client.Streamer = (*Client)(nil)
)

// New checks the configuration. It does not connect.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(strings.TrimSuffix(cfg.Server, "/"))
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return nil, fmt.Errorf("https: Config.Server: %q: want a URL such as https://127.0.0.1:6443", cfg.Server)
	}
	tlsConfig := &tls.Config{ServerName: cfg.ServerName, InsecureSkipVerify: cfg.Insecure}
	if len(cfg.CAData) > 0 {
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(cfg.CAData) {
			return nil, errors.New("https: Config.CAData: no certificate in PEM found")
		}
	}
	if len(cfg.CertData) > 0 || len(cfg.KeyData) > 0 {
		pair, err := tls.X509KeyPair(cfg.CertData, cfg.KeyData)
		if err != nil {
			return nil, fmt.Errorf("https: Config.CertData and KeyData: %w", err)
		}
		tlsConfig.Certificates = []tls.Certificate{pair}
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = defaultAgent
	}
	c := &Client{cfg: cfg, base: base}
	c.transport = &http.Transport{
		DialContext: cfg.Dial, TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 32, IdleConnTimeout: 90 * time.Second,
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	c.http = &http.Client{Transport: c.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	upgradable := tlsConfig.Clone()
	upgradable.NextProtos = []string{"http/1.1"}
	c.upgrades = &http.Transport{DialContext: cfg.Dial, TLSClientConfig: upgradable, DisableKeepAlives: true}
	c.stream = &http.Client{Transport: c.upgrades}
	return c, nil
}

// Close ends the connections that are idle. Requests and watches that are under way keep theirs.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections()
	c.upgrades.CloseIdleConnections()
	return nil
}

// Do carries a request.
func (c *Client) Do(ctx context.Context, req *client.Request) (*client.Response, error) {
	if req.Kind == nil {
		return nil, errors.New("https: the request names no kind")
	}
	out, err := c.encode(req)
	if err != nil {
		return nil, err
	}
	resp, err := c.send(ctx, out)
	if err != nil {
		return nil, err
	}
	defer drain(resp.Body)
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("%s %s: read answer: %w", req.Verb, req.Kind, err)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("%s %s: the answer is longer than %d bytes; list with a limit", req.Verb, req.Kind, maxAnswer)
	}
	return c.decode(req, resp, body)
}

// message is a request ready to be sent, as often as needed.
type message struct {
	method string
	url    *url.URL
	header http.Header
	body   []byte
}

// send sends a request and returns an answer that is no error. Reads are sent again after 429.
func (c *Client) send(ctx context.Context, m *message) (*http.Response, error) {
	for try := 0; ; try++ {
		req, err := http.NewRequestWithContext(ctx, m.method, m.url.String(), bytes.NewReader(m.body))
		if err != nil {
			return nil, fmt.Errorf("https: %w", err)
		}
		req.Header = m.header.Clone()
		c.identify(req.Header)
		resp, err := c.http.Do(req)
		if err != nil {
			return nil, fmt.Errorf("https: %w", err)
		}
		if resp.StatusCode < 300 {
			return resp, nil
		}
		err = failure(resp)
		drain(resp.Body)
		wait := retryAfter(resp)
		if resp.StatusCode != http.StatusTooManyRequests || m.method != http.MethodGet || wait == 0 || try == maxRetries {
			return nil, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		case <-timer.C:
		}
	}
}

func (c *Client) identify(h http.Header) {
	h.Set("User-Agent", c.cfg.UserAgent)
	if c.cfg.Token != "" {
		h.Set("Authorization", "Bearer "+c.cfg.Token)
	}
}

func retryAfter(resp *http.Response) time.Duration {
	n, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || n < 1 {
		return 0
	}
	return min(time.Duration(n)*time.Second, maxRetryAfter)
}

// drain reads what little may be left of a body, so that the connection can be used again.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 4<<10)
	_ = body.Close()
}

// failure reads the Status of an answer.
func failure(resp *http.Response) error {
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media != mediaProtobuf {
		return stream.StatusError(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("https: %s: read answer: %w", resp.Status, err)
	}
	return statusProtobuf(body)
}

// url is the URL of a request's object or collection.
func (c *Client) url(req *client.Request) *url.URL {
	k := req.Kind
	segments := []string{"apis", k.Group, k.Version}
	if k.Group == "" {
		segments = []string{"api", k.Version}
	}
	if k.Namespaced && req.Namespace != "" {
		segments = append(segments, "namespaces", req.Namespace)
	}
	segments = append(segments, k.Plural)
	if named(req) {
		segments = append(segments, req.Name)
	}
	if req.Subresource != "" {
		segments = append(segments, req.Subresource)
	}
	return c.base.JoinPath(escaped(segments)...)
}

// named reports whether a request is for one object by name. A create names it in the object, unless it creates
// something below an object that there is.
func named(req *client.Request) bool {
	switch req.Verb {
	case client.List, client.Watch, client.DeleteCollection:
		return false
	case client.Create:
		return req.Subresource != ""
	}
	return true
}

// escaped are segments in which nothing can be taken for a part of a path.
func escaped(segments []string) []string {
	out := make([]string, len(segments))
	for i, s := range segments {
		if s = url.PathEscape(s); s == "." || s == ".." {
			s = strings.ReplaceAll(s, ".", "%2E")
		}
		out[i] = s
	}
	return out
}

// Logs reads a container's log.
func (c *Client) Logs(ctx context.Context, namespace, pod string, opts corev1.PodLogOptions) (io.ReadCloser, error) {
	u := c.url(&client.Request{Verb: client.Get, Kind: kind.Pod.Kind(), Namespace: namespace, Name: pod, Subresource: "log"})
	u.RawQuery = stream.LogQuery(opts).Encode()
	resp, err := c.send(ctx, &message{method: http.MethodGet, url: u, header: http.Header{"Accept": {"text/plain, " + mediaJSON + ", */*"}}})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Exec runs a command in a container.
func (c *Client) Exec(ctx context.Context, namespace, pod string, opts corev1.PodExecOptions, streams client.Streams) error {
	if streams.Stdin == nil && streams.Stdout == nil && streams.Stderr == nil {
		streams.Stdout = io.Discard
	}
	u := c.url(&client.Request{Verb: client.Get, Kind: kind.Pod.Kind(), Namespace: namespace, Name: pod, Subresource: "exec"})
	u.RawQuery = stream.ExecQuery(opts, streams).Encode()
	header := http.Header{}
	c.identify(header)
	return stream.Exec(ctx, c.stream, u, header, streams)
}

// query are the parameters of a request.
func query(req *client.Request) (url.Values, error) {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	switch req.Verb {
	case client.List, client.Watch, client.DeleteCollection:
		o := req.List
		set("labelSelector", o.LabelSelector)
		set("fieldSelector", o.FieldSelector)
		set("resourceVersion", o.ResourceVersion)
		set("resourceVersionMatch", string(o.ResourceVersionMatch))
		set("continue", o.Continue)
		if o.Limit > 0 {
			set("limit", strconv.FormatInt(o.Limit, 10))
		}
		if o.TimeoutSeconds != nil {
			set("timeoutSeconds", strconv.FormatInt(*o.TimeoutSeconds, 10))
		}
		if req.Verb == client.Watch {
			set("watch", "true")
			if o.AllowWatchBookmarks {
				set("allowWatchBookmarks", "true")
			}
			if o.SendInitialEvents != nil {
				set("sendInitialEvents", strconv.FormatBool(*o.SendInitialEvents))
			}
		}
	case client.Get:
		set("resourceVersion", req.List.ResourceVersion)
	}
	switch req.Verb {
	case client.Create, client.Update, client.Patch, client.Delete, client.DeleteCollection:
		if req.DryRun {
			set("dryRun", metav1.DryRunAll)
		}
		set("fieldManager", req.FieldManager)
		if req.Verb == client.Patch && req.PatchType == types.ApplyPatchType {
			if req.FieldManager == "" {
				return nil, errors.New("https: an apply patch needs a FieldManager")
			}
			set("force", strconv.FormatBool(req.Force))
		}
		set("fieldValidation", req.FieldValidation)
	}
	return q, nil
}
