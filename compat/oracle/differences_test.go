package oracle

import "regexp"

// differences are those that are meant.
var differences = []struct {
	request, at *regexp.Regexp // whole name of the request, whole place in its answer
	reason      string
}{
	{every, regexp.MustCompile(`\.columnDefinitions\[\d+\]\.description$`), "Descriptions of columns are in Keelson's own words, and short."},
	{regexp.MustCompile(`^discovery api$`), regexp.MustCompile(`^\.body\.serverAddressByClientCIDRs\[0\]\.serverAddress$`), "Each is reached at its own address."},
}

var every = regexp.MustCompile("")

// meant gives the entry of differences that a difference belongs to, or -1.
func meant(d difference) int {
	for i, m := range differences {
		if m.request.MatchString(d.request) && m.at.MatchString(d.at) {
			return i
		}
	}
	return -1
}
