package wire

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
	yamlconv "sigs.k8s.io/yaml"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

const maxBody = 3 << 20

// The values of the fieldValidation parameter.
const (
	validateStrict = metav1.FieldValidationStrict
	validateWarn   = metav1.FieldValidationWarn
	validateIgnore = metav1.FieldValidationIgnore
)

// readBody reads a request's body, up to the limit.
func readBody(r *http.Request) ([]byte, error) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, unsupportedMedia("Content-Encoding: "+enc, "identity")
	}
	tooLarge := apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
	if r.ContentLength > maxBody {
		return nil, tooLarge
	}
	if r.Body == nil {
		return nil, nil
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		var limit *http.MaxBytesError
		if errors.As(err, &limit) {
			return nil, tooLarge
		}
		return nil, apierrors.NewBadRequest("the body could not be read: " + err.Error())
	}
	if len(data) > maxBody {
		return nil, tooLarge
	}
	return data, nil
}

// bodyMedia is the media type of a request's body; none means JSON.
func bodyMedia(r *http.Request) (string, error) {
	header := r.Header.Get("Content-Type")
	if header == "" {
		return mediaJSON, nil
	}
	media, _, err := mime.ParseMediaType(header)
	if err != nil {
		return "", unsupportedMedia(header, mediaJSON, mediaYAML, mediaProtobuf)
	}
	switch media {
	case "application/x-yaml", "text/yaml":
		return mediaYAML, nil
	}
	return media, nil
}

// fieldValidation reads the parameter; the default on the wire is Warn.
func fieldValidation(r *http.Request) (string, error) {
	switch v := r.URL.Query().Get("fieldValidation"); v {
	case "":
		return validateWarn, nil
	case validateStrict, validateWarn, validateIgnore:
		return v, nil
	default:
		return "", apierrors.NewBadRequest(fmt.Sprintf("fieldValidation %q: want Strict, Warn or Ignore", v))
	}
}

// decodeObject reads the object that a create or an update writes. Problems of strict decoding are an error or
// warnings, as validation says.
func decodeObject(r *http.Request, k *kind.Kind, validation string) (kind.Instance, []string, error) {
	data, err := readBody(r)
	if err != nil {
		return nil, nil, err
	}
	media, err := bodyMedia(r)
	if err != nil {
		return nil, nil, err
	}
	var problems []error
	switch media {
	case mediaJSON:
	case mediaYAML:
		converted, err := yamlconv.YAMLToJSON(data)
		if err != nil {
			return nil, nil, badObject(k, err)
		}
		if _, strict := yamlconv.YAMLToJSONStrict(data); strict != nil {
			problems = append(problems, strict)
		}
		data = converted
	case mediaProtobuf:
		if !k.Protobuf() {
			return nil, nil, unsupportedMedia(media, mediaJSON, mediaYAML)
		}
		obj, err := k.DecodeProtobuf(data)
		if err != nil {
			return nil, nil, badObject(k, err)
		}
		return obj, nil, nil
	default:
		return nil, nil, unsupportedMedia(media, mediaJSON, mediaYAML, mediaProtobuf)
	}
	obj, err := k.DecodeJSON(data, validation != validateIgnore)
	var strict *kind.StrictError
	if err != nil && !errors.As(err, &strict) {
		return nil, nil, badObject(k, err)
	}
	if strict != nil {
		problems = append(problems, strict.Problems...)
	}
	if len(problems) == 0 || validation == validateIgnore {
		return obj, nil, nil
	}
	texts := make([]string, len(problems))
	for i, p := range problems {
		texts[i] = p.Error()
	}
	if validation == validateStrict {
		return nil, nil, badObject(k, fmt.Errorf("strict decoding error: %s", strings.Join(texts, ", ")))
	}
	return obj, texts, nil
}

func badObject(k *kind.Kind, err error) error {
	if errors.Is(err, kind.ErrWrongKind) {
		return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v", k.Name, err))
	}
	return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", k.Name, k.Version, k.Name, err))
}

// decodeDeleteOptions reads delete options from the body or, without one, from the query.
func decodeDeleteOptions(r *http.Request) (metav1.DeleteOptions, error) {
	var o metav1.DeleteOptions
	data, err := readBody(r)
	if err != nil {
		return o, err
	}
	if len(data) == 0 {
		q := r.URL.Query()
		if err := metav1.Convert_url_Values_To_v1_DeleteOptions(&q, &o, nil); err != nil {
			return o, apierrors.NewBadRequest("delete options: " + err.Error())
		}
		return o, checkDeleteOptions(&o)
	}
	media, err := bodyMedia(r)
	if err != nil {
		return o, err
	}
	switch media {
	case mediaProtobuf:
		raw, gvk, err := kind.OpenEnvelope(data)
		if err != nil {
			return o, apierrors.NewBadRequest("delete options: " + err.Error())
		}
		if gvk.Kind != "" && gvk.Kind != "DeleteOptions" {
			return o, apierrors.NewBadRequest(fmt.Sprintf("delete options: got a %s", gvk.Kind))
		}
		if err := o.Unmarshal(raw); err != nil {
			return o, apierrors.NewBadRequest("delete options: " + err.Error())
		}
		return o, checkDeleteOptions(&o)
	case mediaYAML:
		if data, err = yamlconv.YAMLToJSON(data); err != nil {
			return o, apierrors.NewBadRequest("delete options: " + err.Error())
		}
	case mediaJSON:
	default:
		return o, unsupportedMedia(media, mediaJSON, mediaYAML, mediaProtobuf)
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &o); err != nil {
		return o, apierrors.NewBadRequest("delete options: " + err.Error())
	}
	if o.Kind != "" && o.Kind != "DeleteOptions" {
		return o, apierrors.NewBadRequest(fmt.Sprintf("delete options: got a %s", o.Kind))
	}
	return o, checkDeleteOptions(&o)
}

func checkDeleteOptions(o *metav1.DeleteOptions) error {
	if o.PropagationPolicy != nil {
		switch *o.PropagationPolicy {
		case metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan:
		default:
			return apierrors.NewBadRequest(fmt.Sprintf("propagationPolicy %q: want Background, Foreground or Orphan", *o.PropagationPolicy))
		}
	}
	if o.GracePeriodSeconds != nil && *o.GracePeriodSeconds < 0 {
		one := int64(1) // what a negative period has always meant upstream
		o.GracePeriodSeconds = &one
	}
	for _, d := range o.DryRun {
		if d != metav1.DryRunAll {
			return apierrors.NewBadRequest(fmt.Sprintf("dryRun %q: want All", d))
		}
	}
	return nil
}
