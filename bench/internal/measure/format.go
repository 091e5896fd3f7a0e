package measure

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Header writes the first two lines of a table in Markdown.
func Header(b *strings.Builder, cells ...string) {
	Line(b, cells...)
	Line(b, slices.Repeat([]string{"---"}, len(cells))...)
}

// Line writes a line of a table.
func Line(b *strings.Builder, cells ...string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

// Verdict follows a target.
func Verdict(met bool) string {
	if met {
		return " met"
	}
	return " missed"
}

// Times prints a ratio.
func Times(ratio float64) string { return fmt.Sprintf("%.2f", ratio) }

// Number prints a rate with three digits that count.
func Number(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.2fM", n/1e6)
	case n >= 1e5:
		return fmt.Sprintf("%.0fk", n/1e3)
	case n >= 1e3:
		return fmt.Sprintf("%.1fk", n/1e3)
	}
	return fmt.Sprintf("%.0f", n)
}

// Span prints nanoseconds.
func Span(ns float64) string {
	d := time.Duration(ns)
	switch {
	case d >= 100*time.Millisecond:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.1f ms", ns/1e6)
	}
	return fmt.Sprintf("%.1f µs", ns/1e3)
}

// Bytes prints bytes.
func Bytes(n float64) string {
	switch {
	case n >= 1e7:
		return fmt.Sprintf("%.0f MB", n/1e6)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", n/1e6)
	}
	return fmt.Sprintf("%.1f kB", n/1e3)
}

// Processor returns the model that Linux tells.
func Processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	defer func() { _ = f.Close() }() // it was only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, model, found := strings.Cut(lines.Text(), ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return "unknown processor"
}

// LoadAverage returns how many processes wanted a processor in the last minute, as Linux tells.
func LoadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
