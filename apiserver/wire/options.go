package wire

import (
	"fmt"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/keelson-dev/keelson/apiserver/client"
)

const maxRequirements = 256 // of a selector

// listOptions reads and checks the parameters of a list or a watch.
func listOptions(q url.Values) (metav1.ListOptions, error) {
	var o metav1.ListOptions
	if err := metav1.Convert_url_Values_To_v1_ListOptions(&q, &o, nil); err != nil {
		return o, apierrors.NewBadRequest(err.Error())
	}
	if o.Limit < 0 {
		return o, apierrors.NewBadRequest("limit: want a number of objects, 0 for all")
	}
	if o.TimeoutSeconds != nil && *o.TimeoutSeconds < 0 {
		return o, apierrors.NewBadRequest("timeoutSeconds: want a number of seconds")
	}
	if strings.Contains(o.LabelSelector+o.FieldSelector, "\x00") { // the parser would take it for the end
		return o, apierrors.NewBadRequest("a selector has a NUL character")
	}
	ls, err := labels.Parse(o.LabelSelector)
	if err != nil {
		return o, apierrors.NewBadRequest("labelSelector: " + err.Error())
	}
	if all, _ := ls.Requirements(); len(all) > maxRequirements { // each is held against each object
		return o, apierrors.NewBadRequest(fmt.Sprintf("labelSelector: it has %d requirements, at most %d are allowed", len(all), maxRequirements))
	}
	fs, err := fields.ParseSelector(o.FieldSelector)
	if err != nil {
		return o, apierrors.NewBadRequest("fieldSelector: " + err.Error())
	}
	if n := len(fs.Requirements()); n > maxRequirements {
		return o, apierrors.NewBadRequest(fmt.Sprintf("fieldSelector: it has %d requirements, at most %d are allowed", n, maxRequirements))
	}
	if _, err := revision(o.ResourceVersion); err != nil {
		return o, err
	}
	internal := internalversion.ListOptions{
		LabelSelector: ls, FieldSelector: fs, Watch: o.Watch, ResourceVersion: o.ResourceVersion, ResourceVersionMatch: o.ResourceVersionMatch,
		Limit: o.Limit, Continue: o.Continue, SendInitialEvents: o.SendInitialEvents,
	}
	if problems := validation.ValidateListOptions(&internal, true); len(problems) > 0 {
		return o, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "ListOptions"}, "", problems)
	}
	return o, nil
}

// revision checks a resourceVersion parameter.
func revision(s string) (string, error) {
	if _, err := client.ParseRevision(s); err != nil {
		return "", apierrors.NewBadRequest("resourceVersion: " + err.Error())
	}
	return s, nil
}
