package fieldmanager

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
)

// Name makes a manager's name of what a client calls itself (the part of a User-Agent before the first slash): without
// characters that can't be printed, and no longer than a name may be. Source: kube-apiserver's prefixFromUserAgent.
func Name(agent string) string {
	agent, _, _ = strings.Cut(agent, "/")
	var out strings.Builder
	for _, r := range agent {
		if !unicode.IsPrint(r) {
			continue
		}
		if out.Len()+utf8.RuneLen(r) > validation.FieldManagerMaxLength {
			break
		}
		out.WriteRune(r)
	}
	return out.String()
}
