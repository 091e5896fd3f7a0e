package authn

import "slices"

// User is who sent a request. It is a value; its slices and maps are read-only.
type User struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
}

// Groups and names with a meaning of their own, as Kubernetes gives them.
const (
	GroupMasters         = "system:masters"         // may do anything
	GroupAuthenticated   = "system:authenticated"   // everyone who is somebody
	GroupUnauthenticated = "system:unauthenticated" // everyone who is not
	GroupNodes           = "system:nodes"
	UserAnonymous        = "system:anonymous"
)

// System is the user that a control plane's own parts act as: name says which part, and it may do anything.
func System(name string) User {
	return User{Name: "system:" + name, Groups: []string{GroupMasters, GroupAuthenticated}}
}

// Anonymous is the user of a request without credentials.
func Anonymous() User {
	return User{Name: UserAnonymous, Groups: []string{GroupUnauthenticated}}
}

// Authenticated is u as an authenticator found it, in the group of everyone who is somebody.
func Authenticated(u User) User {
	if u.Name != UserAnonymous && !u.In(GroupAuthenticated) {
		u.Groups = append(slices.Clip(slices.Clone(u.Groups)), GroupAuthenticated)
	}
	return u
}

// In reports whether the user belongs to a group.
func (u User) In(group string) bool { return slices.Contains(u.Groups, group) }
