package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	jsonpatch "github.com/evanphx/json-patch/v5"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// maxPatchOperations bounds a JSON patch, as kube-apiserver does.
const maxPatchOperations = 10_000

// maxMergeSteps bounds a strategic merge, which looks for each element of the patch's lists in all of the object's.
const maxMergeSteps = 4 << 20

// structures counts the objects and lists in a document, and the braces and brackets in its strings too.
func structures(document []byte) int {
	return bytes.Count(document, []byte{'{'}) + bytes.Count(document, []byte{'['})
}

// patcher makes a patched JSON document. sample is the Go type that a strategic merge reads its rules from.
type patcher func(document []byte, sample any) ([]byte, error)

func (c *call) patch(ctx context.Context) (*client.Response, error) {
	if c.req.PatchType == types.ApplyYAMLPatchType {
		return c.apply(ctx)
	}
	apply, err := c.safePatcher()
	if err != nil {
		return nil, err
	}
	return c.modify(ctx, func(old kind.Instance) (kind.Instance, error) {
		document, err := c.kind.EncodeJSON(old)
		if err != nil {
			return nil, err
		}
		if document, err = apply(document, c.kind.New()); err != nil {
			return nil, err
		}
		return c.decodePatched(document)
	})
}

func (c *call) patchScale(ctx context.Context) (*client.Response, error) {
	if c.req.PatchType == types.ApplyYAMLPatchType {
		return c.applyScale(ctx)
	}
	apply, err := c.safePatcher()
	if err != nil {
		return nil, err
	}
	return c.rescale(ctx, func(old *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		document, err := json.Marshal(old)
		if err != nil {
			return nil, err
		}
		if document, err = apply(document, autoscalingv1.Scale{}); err != nil {
			return nil, err
		}
		var scale autoscalingv1.Scale
		if err := json.Unmarshal(document, &scale); err != nil {
			return nil, badRequest("patch %s/scale: the result is no scale: %v", c.kind, err)
		}
		return &scale, nil
	})
}

// decodePatched reads the patched document, as strictly as the client asked.
func (c *call) decodePatched(document []byte) (kind.Instance, error) {
	if len(document) > maxObjectBytes {
		return nil, tooLarge(len(document))
	}
	obj, err := c.kind.DecodeJSON(document, c.req.FieldValidation != metav1.FieldValidationIgnore)
	var strict *kind.StrictError
	switch {
	case errors.As(err, &strict):
	case errors.Is(err, kind.ErrWrongKind):
		return nil, badRequest("patch %s: apiVersion and kind may not be changed: %v", c.kind, err)
	case err != nil:
		return nil, invalidPatch(document, err)
	}
	if c.req.FieldValidation != metav1.FieldValidationIgnore {
		problems := slices.Clone(c.sloppy)
		if strict != nil {
			problems = append(problems, strict.Problems...)
		}
		switch {
		case len(problems) == 0:
		case c.req.FieldValidation == metav1.FieldValidationWarn:
			c.ignored = c.ignored[:0]
			for _, p := range problems {
				c.ignored = append(c.ignored, p.Error())
			}
		default:
			return nil, invalidPatch(document, runtime.NewStrictDecodingError(problems))
		}
	}
	if obj.GetName() != c.req.Name || obj.GetNamespace() != c.req.Namespace {
		return nil, badRequest("patch %s %s: metadata.name and metadata.namespace may not be changed, to %q and %q", c.kind, c.req.Name, obj.GetName(), obj.GetNamespace())
	}
	return obj, nil
}

// invalidPatch says what is wrong with the outcome of a patch, as upstream.
func invalidPatch(document []byte, err error) error {
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), string(shorten(document)), shortened(err.Error(), maxDetail))})
}

// proofread finds what is wrong with how the patch itself is written: keys that are there twice, and parts of operations that nobody
// knows.
func (c *call) proofread() {
	if c.req.FieldValidation == metav1.FieldValidationIgnore {
		return
	}
	var into any = &map[string]any{}
	if c.req.PatchType == types.JSONPatchType {
		into = &[]operation{}
	}
	problems, err := kjson.UnmarshalStrict(c.req.PatchData, into)
	if err != nil {
		return // who reads the patch says so
	}
	for i, p := range problems {
		if c.req.PatchType == types.JSONPatchType {
			problems[i] = fmt.Errorf("json patch %w", p)
		}
	}
	c.sloppy = problems
}

// operation is one step of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	From  string `json:"from"`
	Value any    `json:"value"`
}

// maxPatchWork bounds the bytes that are read when a document is decoded anew at each level, as the patch libraries do.
const maxPatchWork = 64 << 20

// safePatcher is patcher behind what the libraries of patches do not check: depth, and types that they take for granted.
func (c *call) safePatcher() (patcher, error) {
	if deep := depth(c.req.PatchData); deep*len(c.req.PatchData) > maxPatchWork {
		return nil, badRequest("the patch is nested %d deep, too much for its %d bytes", deep, len(c.req.PatchData))
	}
	apply, err := c.patcher()
	if err != nil {
		return nil, err
	}
	c.proofread()
	return func(document []byte, sample any) (out []byte, err error) {
		defer func() {
			if v := recover(); v != nil {
				out, err = nil, badRequest("the patch does not fit the object: %v", v)
			}
		}()
		return apply(document, sample)
	}, nil
}

// depth is how deep JSON is nested.
func depth(data []byte) int {
	deepest, now, quoted := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch b := data[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '{' || b == '[':
			now++
			deepest = max(deepest, now)
		case b == '}' || b == ']':
			now--
		}
	}
	return deepest
}

// patcher reads the patch once; applying it may be repeated.
func (c *call) patcher() (patcher, error) {
	data := c.req.PatchData
	switch c.req.PatchType {
	case types.JSONPatchType:
		return c.jsonPatcher(data)
	case types.MergePatchType:
		if err := checkObject(data); err != nil {
			return nil, err
		}
		return func(document []byte, _ any) ([]byte, error) {
			out, err := jsonpatch.MergePatch(document, data)
			if err != nil {
				return nil, badRequest("merge patch: %v", err)
			}
			return out, nil
		}, nil
	case types.StrategicMergePatchType:
		if !c.kind.Protobuf() && c.req.Subresource != subScale {
			return nil, status(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType,
				"%s have no strategic merge: use a JSON patch or a merge patch", c.kind)
		}
		if err := checkObject(data); err != nil {
			return nil, err
		}
		changes := structures(data)
		return func(document []byte, sample any) ([]byte, error) {
			if changes*(changes+structures(document)) > maxMergeSteps {
				return nil, status(http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge,
					"the strategic merge patch has %d objects and lists, too many to find in an object with %d: use a JSON patch or a merge patch",
					changes, structures(document))
			}
			out, err := strategicpatch.StrategicMergePatch(document, data, sample)
			if errors.Is(err, mergepatch.ErrNoListOfLists) || errors.Is(err, mergepatch.ErrPatchContentNotMatchRetainKeys) {
				return nil, status(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "%v", err)
			}
			if err != nil {
				return nil, badRequest("strategic merge patch: %v", err)
			}
			return out, nil
		}, nil
	}
	return nil, status(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType,
		"the patch type %q is unknown: use %s, %s, %s or %s", c.req.PatchType, types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType, types.ApplyYAMLPatchType)
}

func (c *call) jsonPatcher(data []byte) (patcher, error) {
	patch, err := jsonpatch.DecodePatch(data)
	if err != nil {
		return nil, badRequest("JSON patch: %v", err)
	}
	if len(patch) > maxPatchOperations {
		return nil, apierrors.NewRequestEntityTooLargeError(
			fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxPatchOperations, len(patch)))
	}
	opts := jsonpatch.NewApplyOptions()
	opts.AccumulatedCopySizeLimit = maxObjectBytes
	return func(document []byte, _ any) ([]byte, error) {
		out, err := patch.ApplyWithOptions(document, opts)
		if err != nil {
			return nil, invalid(c.kind, c.req.Name, field.ErrorList{field.Invalid(field.NewPath("patch"), string(shorten(data)), err.Error())})
		}
		return out, nil
	}, nil
}

// checkObject checks that a merge patch is a JSON object.
func checkObject(data []byte) error {
	if trimmed := bytes.TrimSpace(data); len(trimmed) == 0 || trimmed[0] != '{' || !json.Valid(data) {
		return badRequest("the patch must be a JSON object, it is %q", shorten(data))
	}
	return nil
}

func shorten(data []byte) []byte {
	if len(data) > 128 {
		return append(bytes.Clone(data[:128]), "..."...)
	}
	return data
}
