package wire

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
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

// bodyTimeout is how long a body may take to arrive: kube-apiserver's time-out of a request.
const bodyTimeout = time.Minute

// readBody reads a request's body, up to the limit and within bodyTimeout.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, unsupportedEncoding(enc)
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
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
				Status: metav1.StatusFailure, Code: http.StatusRequestTimeout, Reason: metav1.StatusReasonTimeout,
				Message: fmt.Sprintf("the body did not arrive within %v", bodyTimeout),
			}}
		}
		return nil, apierrors.NewBadRequest("the body could not be read: " + err.Error())
	}
	if len(data) > maxBody {
		return nil, tooLarge
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // it is all there
	return data, nil
}

// limitBody makes a body that does not come fail to be read. It is done before anything is known about the request, because a
// server reads what is left of a body also after it has refused it.
func limitBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // not every connection has deadlines
	}
}

func unsupportedEncoding(encoding string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: fmt.Sprintf("the body of the request is encoded as %q, and only identity is accepted", shorten(encoding, maxCauseMessage)),
	}}
}

// bodyMedia is the media type of a request's body; none means JSON.
func bodyMedia(r *http.Request) (string, error) {
	header := r.Header.Get("Content-Type")
	if header == "" {
		return mediaJSON, nil
	}
	media, _, err := mime.ParseMediaType(header)
	if err != nil {
		return "", unsupportedMedia(mediaJSON, mediaYAML, mediaProtobuf)
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
func (g *goTypes) decodeObject(w http.ResponseWriter, r *http.Request, k *kind.Kind, validation string) (kind.Instance, []string, error) {
	data, err := readBody(w, r)
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
		var duplicate error
		if data, duplicate, err = fromYAML(data, validation != validateIgnore); err != nil {
			return nil, nil, badObject(k, err)
		}
		if duplicate != nil {
			problems = append(problems, duplicate)
		}
	case mediaProtobuf:
		obj, err := g.decodeProtobuf(k, data)
		return obj, nil, err
	default:
		return nil, nil, unsupportedMedia(mediaJSON, mediaYAML, mediaProtobuf)
	}
	if err := checkJSON(data); err != nil {
		return nil, nil, badObject(k, err)
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

// fromYAML converts one YAML document. duplicate says that a key is there twice, of which the last one counts.
func fromYAML(data []byte, strict bool) (converted []byte, duplicate, err error) {
	if err := checkYAML(data); err != nil {
		return nil, nil, err
	}
	if strict {
		if converted, duplicate = yamlconv.YAMLToJSONStrict(data); duplicate == nil {
			return converted, nil, nil
		}
	}
	converted, err = yamlconv.YAMLToJSON(data)
	return converted, duplicate, err
}

func (g *goTypes) decodeProtobuf(k *kind.Kind, data []byte) (kind.Instance, error) {
	if !k.Protobuf() {
		return nil, unsupportedMedia(mediaJSON, mediaYAML)
	}
	if raw, _, err := kind.OpenEnvelope(data); err == nil {
		if err := g.checkProtobuf(reflect.TypeOf(k.New()).Elem(), raw); err != nil {
			return nil, badObject(k, err)
		}
	}
	obj, err := k.DecodeProtobuf(data)
	if err == nil {
		err = g.checkStrings(reflect.ValueOf(obj))
	}
	if err != nil {
		return nil, badObject(k, err)
	}
	return obj, nil
}

func badObject(k *kind.Kind, err error) error {
	if errors.Is(err, kind.ErrWrongKind) {
		return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v", k.Name, err))
	}
	return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", k.Name, k.Version, k.Name, err))
}

// decodeDeleteOptions reads delete options from the body or, without one, from the query.
func decodeDeleteOptions(w http.ResponseWriter, r *http.Request) (metav1.DeleteOptions, error) {
	var o metav1.DeleteOptions
	data, err := readBody(w, r)
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
		if data, _, err = fromYAML(data, false); err != nil {
			return o, apierrors.NewBadRequest("delete options: " + err.Error())
		}
	case mediaJSON:
	default:
		return o, unsupportedMedia(mediaJSON, mediaYAML, mediaProtobuf)
	}
	if err := checkJSON(data); err != nil {
		return o, apierrors.NewBadRequest("delete options: " + err.Error())
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
	if errs := validation.ValidateDeleteOptions(o); len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "DeleteOptions"}, "", errs)
	}
	return nil
}
