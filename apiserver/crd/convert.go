package crd

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

const (
	webhookTimeout  = 30 * time.Second
	maxWebhookBytes = 64 << 20 // of an answer
)

// ConversionReview is what a webhook is asked with and answers. The API has the same form as v1 and v1beta1.
type ConversionReview struct {
	metav1.TypeMeta `json:",inline"`

	Request  *ConversionRequest  `json:"request,omitempty"`
	Response *ConversionResponse `json:"response,omitempty"`
}

// ConversionRequest asks for objects in another version.
type ConversionRequest struct {
	UID               types.UID         `json:"uid"`
	DesiredAPIVersion string            `json:"desiredAPIVersion"`
	Objects           []json.RawMessage `json:"objects"`
}

// ConversionResponse has the converted objects, in the order of the request's.
type ConversionResponse struct {
	UID              types.UID         `json:"uid"`
	ConvertedObjects []json.RawMessage `json:"convertedObjects"`
	Result           metav1.Status     `json:"result"`
}

// converter converts between the versions of a definition.
type converter struct {
	definition *CustomResourceDefinition
	cfg        Config
}

// to gives the conversion of objects to a version.
func (c converter) to(k *kind.Kind) func(context.Context, []kind.Instance) ([]kind.Instance, error) {
	return func(ctx context.Context, in []kind.Instance) ([]kind.Instance, error) {
		conv := c.definition.Spec.Conversion
		if conv == nil || conv.Strategy != WebhookConverter {
			return relabel(k, in), nil
		}
		return c.call(ctx, k, conv.Webhook, in)
	}
}

// relabel is the conversion None: the objects are the same but for their version, and for what the version's schema does not know.
func relabel(k *kind.Kind, in []kind.Instance) []kind.Instance {
	out := make([]kind.Instance, len(in))
	for i, obj := range in {
		u := k.Copy(obj)
		k.Stamp(u)
		if k.Prune != nil {
			k.Prune(u)
		}
		out[i] = u
	}
	return out
}

// call asks the webhook.
func (c converter) call(ctx context.Context, k *kind.Kind, hook *WebhookConversion, in []kind.Instance) ([]kind.Instance, error) {
	if hook == nil || hook.ClientConfig == nil {
		return nil, errors.New("the definition names no webhook")
	}
	version := ""
	for _, v := range hook.ConversionReviewVersions {
		if v == "v1" || v == "v1beta1" {
			version = v
			break
		}
	}
	if version == "" {
		return nil, fmt.Errorf("the webhook understands none of ConversionReview v1, v1beta1, it has %v", hook.ConversionReviewVersions)
	}
	review := ConversionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: Group + "/" + version, Kind: "ConversionReview"},
		Request:  &ConversionRequest{UID: uuid.NewUUID(), DesiredAPIVersion: k.APIVersion(), Objects: make([]json.RawMessage, len(in))},
	}
	for i, obj := range in {
		data, err := json.Marshal(obj.(*unstructured.Unstructured).Object)
		if err != nil {
			return nil, err
		}
		review.Request.Objects[i] = data
	}
	answer, err := c.post(ctx, hook.ClientConfig, review)
	if err != nil {
		return nil, fmt.Errorf("conversion webhook for %s failed: %w", c.definition.Name, err)
	}
	return c.accept(k, review.Request, answer, in)
}

// accept checks a webhook's answer. Of the metadata only labels and annotations are its business.
func (c converter) accept(k *kind.Kind, asked *ConversionRequest, r *ConversionResponse, in []kind.Instance) ([]kind.Instance, error) {
	fail := func(format string, args ...any) ([]kind.Instance, error) {
		return nil, fmt.Errorf("conversion webhook for %s: %s", c.definition.Name, fmt.Sprintf(format, args...))
	}
	switch {
	case r == nil:
		return fail("the answer has no response")
	case r.UID != asked.UID:
		return fail("the answer is for request %q, want %q", r.UID, asked.UID)
	case r.Result.Status != metav1.StatusSuccess:
		return fail("%s", firstOf(r.Result.Message, "it failed and does not say why"))
	case len(r.ConvertedObjects) != len(in):
		return fail("%d objects became %d", len(in), len(r.ConvertedObjects))
	}
	out := make([]kind.Instance, len(in))
	for i, data := range r.ConvertedObjects {
		obj, err := k.DecodeJSON(data, false)
		if err != nil {
			return fail("object %d: %v", i, err)
		}
		u, was := obj.(*unstructured.Unstructured), in[i].(*unstructured.Unstructured)
		if was.GetName() != u.GetName() || was.GetNamespace() != u.GetNamespace() || was.GetUID() != u.GetUID() {
			return fail("object %d: name, namespace and uid must stay as they are", i)
		}
		labels, annotations := u.GetLabels(), u.GetAnnotations()
		meta := map[string]any{}
		if had, ok := was.Object["metadata"].(map[string]any); ok {
			meta, _ = copyValue(had).(map[string]any)
		}
		u.Object["metadata"] = meta
		u.SetLabels(labels)
		u.SetAnnotations(annotations)
		out[i] = u
	}
	return out, nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// post sends a review and reads the answer.
func (c converter) post(ctx context.Context, cc *WebhookClientConfig, review ConversionReview) (*ConversionResponse, error) {
	target, address, err := c.target(ctx, cc)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(review)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, webhookTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	transport, err := c.transport(cc, target.Hostname(), address)
	if err != nil {
		return nil, err
	}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxWebhookBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxWebhookBytes:
		return nil, fmt.Errorf("the answer has more than %d bytes", maxWebhookBytes)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %s", resp.Status, strings.ToValidUTF8(string(data[:min(len(data), 200)]), "?"))
	}
	var answer ConversionReview
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, fmt.Errorf("the answer is no ConversionReview: %w", err)
	}
	if answer.APIVersion != review.APIVersion || answer.Kind != review.Kind {
		return nil, fmt.Errorf("expected webhook response of %s, Kind=ConversionReview, got %s, Kind=%s", review.APIVersion, answer.APIVersion, answer.Kind)
	}
	return answer.Response, nil
}

// target is the URL to post to, and the address to dial when it is not the URL's own.
func (c converter) target(ctx context.Context, cc *WebhookClientConfig) (*url.URL, string, error) {
	if cc.URL != nil {
		u, err := url.Parse(*cc.URL)
		return u, "", err
	}
	s := cc.Service
	if s == nil {
		return nil, "", errors.New("the definition names neither a URL nor a Service")
	}
	port := int32(443)
	if s.Port != nil {
		port = *s.Port
	}
	u := &url.URL{Scheme: "https", Host: net.JoinHostPort(s.Name+"."+s.Namespace+".svc", strconv.Itoa(int(port)))}
	if s.Path != nil {
		u.Path = *s.Path
	}
	if c.cfg.Resolve == nil {
		return u, "", nil
	}
	address, err := c.cfg.Resolve(ctx, s.Namespace, s.Name, port)
	return u, address, err
}

func (c converter) transport(cc *WebhookClientConfig, serverName, address string) (*http.Transport, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: serverName}
	if len(cc.CABundle) > 0 {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(cc.CABundle) {
			return nil, errors.New("unable to load root certificates: unable to parse bytes as PEM block")
		}
	}
	dial := c.cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return &http.Transport{
		TLSClientConfig: cfg, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			if address != "" {
				to = address
			}
			return dial(ctx, network, to)
		},
	}, nil
}
