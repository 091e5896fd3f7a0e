// Package authn tells who sent a request. An [Authenticator] looks at an HTTP request and answers with a [User], with
// "not mine" (false), or with an error, which means that the request carried credentials and they are bad.
//
//	who := authn.Union(authn.Certificates(pool), authn.Tokens(map[string]authn.User{token: {Name: "ci"}}))
//
// Authenticators are safe for concurrent use, and keep no state that changes but what they have verified. What a user may do is package authz's
// question. Certificates and keys are made in package pki.
package authn
