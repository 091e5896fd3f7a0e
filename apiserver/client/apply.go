package client

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Apply creates each object of a manifest, or merges it into the one that exists: fields that the manifest names
// take its values, the others stay (a strategic merge for built-in kinds, a JSON merge for others). It returns the
// objects as stored, and stops at the first error, which names the object.
func Apply(ctx context.Context, c Client, kinds *kind.Set, manifest []byte, opts ...Option) ([]kind.Instance, error) {
	objects, err := kinds.DecodeManifest(manifest)
	if err != nil {
		return nil, err
	}
	out := make([]kind.Instance, 0, len(objects))
	for _, o := range objects {
		if o.Kind.Namespaced && o.Object.GetNamespace() == "" {
			o.Object.SetNamespace("default")
		}
		stored, err := applyOne(ctx, c, o, opts)
		if err != nil {
			return out, fmt.Errorf("apply %s %s/%s: %w", o.Kind, o.Object.GetNamespace(), o.Object.GetName(), err)
		}
		out = append(out, stored)
	}
	return out, nil
}

func applyOne(ctx context.Context, c Client, o kind.Decoded, opts []Option) (kind.Instance, error) {
	req := Request{Verb: Create, Kind: o.Kind, Namespace: o.Object.GetNamespace(), Name: o.Object.GetName(), Object: o.Object}
	for _, opt := range opts {
		opt(&req)
	}
	resp, err := c.Do(ctx, &req)
	if apierrors.IsAlreadyExists(err) {
		req.Verb, req.Object, req.PatchType = Patch, nil, types.MergePatchType
		if o.Kind.Protobuf() {
			req.PatchType = types.StrategicMergePatchType
		}
		if req.PatchData, err = patchOf(o); err != nil {
			return nil, err
		}
		resp, err = c.Do(ctx, &req)
	}
	if err != nil {
		return nil, err
	}
	return resp.Object, nil
}

// patchOf is the object as a patch: what a Go struct writes as empty (status, creationTimestamp) is no wish of the
// manifest's and is left out.
func patchOf(o kind.Decoded) ([]byte, error) {
	data, err := o.Kind.EncodeJSON(o.Object)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	delete(m, "status")
	if meta, ok := m["metadata"].(map[string]any); ok {
		delete(meta, "creationTimestamp")
	}
	return json.Marshal(m)
}
