package wire

import (
	"context"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authz"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// review is a question that is asked by creating an object, which is answered and not stored.
type review struct {
	name   string
	self   bool // anybody who is somebody may ask
	empty  func() kind.Instance
	answer func(ctx context.Context, h *Handler, user authn.User, obj kind.Instance) error
}

func reviews() map[schema.GroupResource]review {
	return map[schema.GroupResource]review{
		{Group: "authentication.k8s.io", Resource: "selfsubjectreviews"}: {
			name: "SelfSubjectReview", self: true, empty: func() kind.Instance { return &authenticationv1.SelfSubjectReview{} }, answer: whoAmI,
		},
		{Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}: {
			name: "SelfSubjectAccessReview", self: true, empty: func() kind.Instance { return &authorizationv1.SelfSubjectAccessReview{} }, answer: mayI,
		},
		{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}: {
			name: "SubjectAccessReview", empty: func() kind.Instance { return &authorizationv1.SubjectAccessReview{} }, answer: mayThey,
		},
	}
}

// kind describes what is asked with.
func (rev review) kind(p resourcePath) (*kind.Kind, error) {
	k := &kind.Kind{Group: p.group, Version: p.version, Name: rev.name, Plural: p.resource, New: rev.empty}
	return k, k.Complete()
}

// review answers a review.
func (h *Handler) review(w http.ResponseWriter, r *http.Request, user authn.User, p resourcePath, rev review) error {
	if p.name != "" || p.namespace != "" {
		return notFound(r)
	}
	if r.Method != http.MethodPost {
		return methodNotAllowed(r)
	}
	if !rev.self {
		if err := h.allowed(r.Context(), authz.Attributes{User: user, Verb: "create", Group: p.group, Version: p.version, Resource: p.resource}); err != nil {
			return err
		}
	}
	k, err := rev.kind(p)
	if err != nil {
		return err
	}
	f, err := negotiate(r, want{protobuf: true, yaml: true, shapes: true})
	if err != nil {
		return err
	}
	validation, err := fieldValidation(r)
	if err != nil {
		return err
	}
	obj, warnings, err := h.goTypes.decodeObject(w, r, k, validation)
	if err != nil {
		return err
	}
	if err := rev.answer(r.Context(), h, user, obj); err != nil {
		return err
	}
	warn(w, warnings)
	return h.writeObject(w, r, http.StatusCreated, f, k, obj, nil)
}

func whoAmI(_ context.Context, _ *Handler, user authn.User, obj kind.Instance) error {
	extra := make(map[string]authenticationv1.ExtraValue, len(user.Extra))
	for k, v := range user.Extra {
		extra[k] = v
	}
	obj.(*authenticationv1.SelfSubjectReview).Status = authenticationv1.SelfSubjectReviewStatus{
		UserInfo: authenticationv1.UserInfo{Username: user.Name, UID: user.UID, Groups: user.Groups, Extra: extra},
	}
	return nil
}

func mayI(ctx context.Context, h *Handler, user authn.User, obj kind.Instance) error {
	rev := obj.(*authorizationv1.SelfSubjectAccessReview)
	var err error
	rev.Status, err = h.decide(ctx, user, rev.Spec.ResourceAttributes, rev.Spec.NonResourceAttributes)
	return err
}

func mayThey(ctx context.Context, h *Handler, _ authn.User, obj kind.Instance) error {
	rev := obj.(*authorizationv1.SubjectAccessReview)
	user := authn.User{Name: rev.Spec.User, UID: rev.Spec.UID, Groups: rev.Spec.Groups, Extra: map[string][]string{}}
	if user.Name == "" && len(user.Groups) == 0 {
		return apierrors.NewBadRequest("spec: user or groups are required")
	}
	for k, v := range rev.Spec.Extra {
		user.Extra[k] = v
	}
	var err error
	rev.Status, err = h.decide(ctx, user, rev.Spec.ResourceAttributes, rev.Spec.NonResourceAttributes)
	return err
}

// decide asks the Authorizer about one of the two kinds of attributes.
func (h *Handler) decide(ctx context.Context, user authn.User, res *authorizationv1.ResourceAttributes, non *authorizationv1.NonResourceAttributes) (authorizationv1.SubjectAccessReviewStatus, error) {
	a := authz.Attributes{User: user}
	switch {
	case (res == nil) == (non == nil):
		return authorizationv1.SubjectAccessReviewStatus{}, apierrors.NewBadRequest("spec: exactly one of resourceAttributes and nonResourceAttributes is required")
	case res != nil:
		a.Verb, a.Group, a.Version, a.Resource = res.Verb, res.Group, res.Version, res.Resource
		a.Subresource, a.Namespace, a.Name = res.Subresource, res.Namespace, res.Name
	default:
		a.Verb, a.Path = non.Verb, non.Path
	}
	d, err := h.cfg.Authorizer.Authorize(ctx, a)
	out := authorizationv1.SubjectAccessReviewStatus{Allowed: d.Allowed && err == nil, Reason: d.Reason}
	if err != nil {
		out.EvaluationError = err.Error()
	}
	return out, nil
}
