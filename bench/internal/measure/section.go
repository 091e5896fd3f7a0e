package measure

import "strings"

func marks(name string) (begin, end string) {
	return "<!-- " + name + ": begin -->\n", "<!-- " + name + ": end -->\n"
}

// Section returns where in a document the part stands that a program of this name has written; -1 if there is none.
func Section(document, name string) (begin, end int) {
	first, last := marks(name)
	begin = strings.Index(document, first)
	if begin < 0 {
		return -1, -1
	}
	n := strings.Index(document[begin:], last)
	if n < 0 {
		return -1, -1
	}
	return begin, begin + n + len(last)
}

// WithSection returns a document with a program's part replaced, or added at the end.
func WithSection(document, name, text string) string {
	first, last := marks(name)
	text = first + text + last
	if begin, end := Section(document, name); begin >= 0 {
		return document[:begin] + text + document[end:]
	}
	return document + "\n" + text
}
