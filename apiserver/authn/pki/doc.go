// Package pki is a small certificate authority: enough for a control plane to give itself, its node agents and its
// users certificates. Keys are ECDSA P-256.
//
// Times come from package time, so that an authority made inside a testing/synctest bubble issues certificates that
// are valid there. Certificates start five minutes before now, for clocks that are a little behind. There is no
// revocation: issue for short times and renew.
//
// A [CA] is safe for concurrent use.
package pki
