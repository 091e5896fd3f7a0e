package authn_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authn/pki"
)

func ExampleUnion() {
	who := authn.Union(
		authn.Tokens(map[string]authn.User{"s3cret": {Name: "ci", Groups: []string{"builders"}}}),
		authn.Func(func(*http.Request) (authn.User, bool, error) { return authn.Anonymous(), true, nil }),
	)
	r := httptest.NewRequest("GET", "/", nil)
	u, ok, err := who.Authenticate(r)
	fmt.Println(u.Name, ok, err)
	r.Header.Set("Authorization", "Bearer s3cret")
	u, ok, err = who.Authenticate(r)
	fmt.Println(u.Name, u.Groups, ok, err)
	// Output:
	// system:anonymous true <nil>
	// ci [builders system:authenticated] true <nil>
}

func TestTokens(t *testing.T) {
	a := authn.Tokens(map[string]authn.User{"good": {Name: "u"}, "": {Name: "nobody"}})
	for header, want := range map[string]string{
		"": "none", "Bearer good": "u", "bearer good": "u", "Bearer  good ": "u", "Bearer bad": "error", "Bearer ": "none", "Basic good": "none", "good": "none",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", header)
		u, ok, err := a.Authenticate(r)
		got := "none"
		if err != nil {
			require.ErrorIs(t, err, authn.ErrInvalid)
			got = "error"
		} else if ok {
			got = u.Name
		}
		require.Equal(t, want, got, header)
	}
}

func TestUnionPrefersGoodCredentials(t *testing.T) {
	bad := authn.Func(func(*http.Request) (authn.User, bool, error) { return authn.User{}, false, errors.New("bad") })
	good := authn.Func(func(*http.Request) (authn.User, bool, error) { return authn.User{Name: "u"}, true, nil })
	r := httptest.NewRequest("GET", "/", nil)
	u, ok, err := authn.Union(bad, good).Authenticate(r)
	require.True(t, ok)
	require.NoError(t, err)
	require.Equal(t, "u", u.Name)
	_, ok, err = authn.Union(bad).Authenticate(r)
	require.False(t, ok)
	require.Error(t, err)
	_, ok, err = authn.Union().Authenticate(r)
	require.False(t, ok)
	require.NoError(t, err)
}

func TestCertificates(t *testing.T) {
	ours, err := pki.NewCA("ours", time.Hour)
	require.NoError(t, err)
	theirs, err := pki.NewCA("theirs", time.Hour)
	require.NoError(t, err)
	a := authn.Certificates(ours.Pool())
	for name, tt := range map[string]struct {
		ca   *pki.CA
		req  pki.Request
		want string
	}{
		"client":         {ours, pki.Request{CommonName: "jane", Organizations: []string{"dev"}}, "jane"},
		"both":           {ours, pki.Request{CommonName: "n", Hosts: []string{"n"}, Client: true}, "n"},
		"only a server":  {ours, pki.Request{CommonName: "n", Hosts: []string{"n"}}, ""},
		"another's":      {theirs, pki.Request{CommonName: "jane"}, ""},
		"without a name": {ours, pki.Request{Hosts: []string{"n"}, Client: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			pair, err := tt.ca.Issue(tt.req)
			require.NoError(t, err)
			block, _ := pem.Decode(pair.CertPEM)
			cert, err := x509.ParseCertificate(block.Bytes)
			require.NoError(t, err)
			r := httptest.NewRequest("GET", "/", nil)
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
			u, ok, err := a.Authenticate(r)
			require.Equal(t, tt.want != "", ok)
			require.Equal(t, tt.want, u.Name)
			if !ok {
				require.ErrorIs(t, err, authn.ErrInvalid)
				return
			}
			require.Equal(t, append(tt.req.Organizations, authn.GroupAuthenticated), u.Groups)
		})
	}
	_, ok, err := a.Authenticate(httptest.NewRequest("GET", "/", nil))
	require.False(t, ok)
	require.NoError(t, err)
}

func TestGroupsAreNotShared(t *testing.T) {
	groups := make([]string, 1, 4)
	groups[0] = "a"
	one := authn.Authenticated(authn.User{Name: "u", Groups: groups})
	require.Equal(t, "", groups[:2][1])
	require.Equal(t, []string{"a", authn.GroupAuthenticated}, one.Groups)
	require.True(t, authn.System("x").In(authn.GroupMasters))
	require.False(t, authn.Authenticated(authn.Anonymous()).In(authn.GroupAuthenticated))
}
