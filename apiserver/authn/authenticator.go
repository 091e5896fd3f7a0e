package authn

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// ErrInvalid is the sentinel for credentials that are there but no good.
var ErrInvalid = errors.New("invalid credentials")

// Authenticator tells who sent a request. False without an error means that the request carries nothing this
// authenticator understands.
type Authenticator interface {
	Authenticate(r *http.Request) (User, bool, error)
}

// Func is a function as an Authenticator.
type Func func(r *http.Request) (User, bool, error)

// Authenticate calls f.
func (f Func) Authenticate(r *http.Request) (User, bool, error) { return f(r) }

// Union asks each authenticator in turn and takes the first that knows the user. Bad credentials in one do not hide
// good ones in another: the errors are returned only when nobody knows the user.
func Union(all ...Authenticator) Authenticator {
	all = slices.Clone(all)
	return Func(func(r *http.Request) (User, bool, error) {
		var errs []error
		for _, a := range all {
			u, ok, err := a.Authenticate(r)
			if ok && err == nil {
				return u, true, nil
			}
			if err != nil {
				errs = append(errs, err)
			}
		}
		return User{}, false, errors.Join(errs...)
	})
}

// Tokens knows users by static bearer tokens. The map is copied; empty tokens never match.
func Tokens(users map[string]User) Authenticator {
	type entry struct {
		hash [sha256.Size]byte
		user User
	}
	entries := make([]entry, 0, len(users))
	for token, u := range users {
		if token != "" {
			entries = append(entries, entry{sha256.Sum256([]byte(token)), Authenticated(u)})
		}
	}
	return Func(func(r *http.Request) (User, bool, error) {
		token, ok := BearerToken(r)
		if !ok {
			return User{}, false, nil
		}
		hash := sha256.Sum256([]byte(token))
		found := -1
		for i := range entries { // all of them, so that the time does not tell how near a guess was
			if subtle.ConstantTimeCompare(hash[:], entries[i].hash[:]) == 1 {
				found = i
			}
		}
		if found < 0 {
			return User{}, false, fmt.Errorf("%w: unknown bearer token", ErrInvalid)
		}
		return entries[found].user, true, nil
	})
}

// BearerToken is the token of an Authorization header, if there is one.
func BearerToken(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	token = strings.TrimSpace(token)
	return token, ok && strings.EqualFold(scheme, "Bearer") && token != ""
}
