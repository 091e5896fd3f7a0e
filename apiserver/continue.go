package apiserver

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"path"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/store"
)

// continueToken is what a continue token says, in kube-apiserver's shape: it names a revision and where to go on below the
// kind and namespace of the request that it comes with, so that a forged one reaches nothing that the request does not.
type continueToken struct {
	APIVersion      string `json:"v"`
	ResourceVersion int64  `json:"rv"`
	StartKey        string `json:"start"` // relative to the keys of the request
}

const (
	continueVersion = "meta.k8s.io/v1"
	newestRevision  = -1 // in a token: go on at the newest revision, which makes the list inconsistent
	maxContinue     = 4 << 10
)

// formatContinue is the token that goes on after a key.
func (c *call) formatContinue(revision int64, last string) string {
	return encodeContinue(revision, strings.TrimPrefix(last, c.cache.scope(c.req.Namespace))+"\x00")
}

func encodeContinue(revision int64, start string) string {
	token, err := json.Marshal(continueToken{continueVersion, revision, start})
	if err != nil {
		return "" // a struct of strings and numbers always has a JSON form
	}
	return base64.RawURLEncoding.EncodeToString(token)
}

// parseContinue reads a token: the revision, or newestRevision, and the first key. Errors are kube-apiserver's.
func (c *call) parseContinue(text string) (revision int64, from string, err error) {
	if len(text) > maxContinue {
		return 0, "", badRequest("invalid continue token: continue key is not valid: it has %d bytes", len(text))
	}
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return 0, "", badRequest("invalid continue token: continue key is not valid: %v", err)
	}
	var token continueToken
	if err := json.Unmarshal(data, &token); err != nil {
		return 0, "", badRequest("invalid continue token: continue key is not valid: %v", err)
	}
	switch {
	case token.APIVersion != continueVersion:
		return 0, "", badRequest("invalid continue token: continue key is not valid: server does not recognize this encoded version %s", quote(token.APIVersion))
	case token.ResourceVersion == 0 || token.ResourceVersion < newestRevision:
		return 0, "", badRequest("invalid continue token: continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
	case token.StartKey == "":
		return 0, "", badRequest("invalid continue token: continue key is not valid: encoded start key empty (version meta.k8s.io/v1)")
	}
	if start := "/" + strings.TrimPrefix(token.StartKey, "/"); path.Clean(start) != start {
		return 0, "", badRequest("invalid continue token: continue key is not valid: %s", quote(token.StartKey))
	}
	return token.ResourceVersion, c.cache.scope(c.req.Namespace) + strings.TrimPrefix(token.StartKey, "/"), nil
}

// listError is what a client hears when a list cannot be read from the store at its revision. A later page gets a token with which
// the rest can be had at the newest revision.
func (c *call) listError(err error, from string) error {
	switch {
	case !errors.Is(err, store.ErrCompacted):
		return storeError(err)
	case from == "":
		return expired("The resourceVersion for the provided list is too old.")
	}
	status := apierrors.NewResourceExpired("The provided continue parameter is too old to display a consistent list result. You can start a new list " +
		"without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the " +
		"provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was " +
		"returned and now may show up in the list.")
	status.ErrStatus.Continue = encodeContinue(newestRevision, strings.TrimPrefix(from, c.cache.scope(c.req.Namespace)))
	return status
}
