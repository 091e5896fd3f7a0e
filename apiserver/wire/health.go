package wire

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Check is one part of a server's health.
type Check struct {
	Name string
	Run  func(ctx context.Context) error

	// ReadyOnly keeps the check out of /livez and /healthz: what will get well by waiting is no reason for a restart.
	ReadyOnly bool
}

// checks are those of a path: healthz, livez or readyz.
func (h *Handler) checks(path string) []Check {
	out := []Check{{Name: "ping", Run: func(context.Context) error { return nil }}}
	for _, c := range h.cfg.Checks {
		if path == "readyz" || !c.ReadyOnly {
			out = append(out, c)
		}
	}
	return out
}

// health answers /healthz, /livez and /readyz, whole or one check. A failed check makes it 500. Why it failed is for the log:
// anybody may read the answer. The texts are kube-apiserver's.
func (h *Handler) health(w http.ResponseWriter, r *http.Request, segments []string) error {
	path := segments[0]
	checks := h.checks(path)
	if len(segments) > 2 {
		return h.notFoundPage(w, r)
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate")
	if len(segments) == 2 {
		i := slices.IndexFunc(checks, func(c Check) bool { return c.Name == segments[1] })
		if i < 0 {
			return h.notFoundPage(w, r)
		}
		if !h.healthy(r, checks[i]) {
			return h.send(w, r, http.StatusInternalServerError, mediaText, []byte("internal server error: reason withheld\n"))
		}
		return h.send(w, r, http.StatusOK, mediaText, []byte("ok"))
	}
	q := r.URL.Query()
	var report bytes.Buffer
	failed := false
	unknown := slices.Compact(slices.Sorted(slices.Values(q["exclude"])))
	for _, c := range checks {
		if slices.Contains(q["exclude"], c.Name) {
			unknown = slices.DeleteFunc(unknown, func(name string) bool { return name == c.Name })
			fmt.Fprintf(&report, "[+]%s excluded: ok\n", c.Name)
			continue
		}
		if !h.healthy(r, c) {
			failed = true
			fmt.Fprintf(&report, "[-]%s failed: reason withheld\n", c.Name)
			continue
		}
		fmt.Fprintf(&report, "[+]%s ok\n", c.Name)
	}
	if len(unknown) > 0 {
		for i := range unknown {
			unknown[i] = strconv.Quote(unknown[i])
		}
		fmt.Fprintf(&report, "warn: some health checks cannot be excluded: no matches for %s\n", strings.Join(unknown, ","))
	}
	code, text := http.StatusOK, "ok"
	_, verbose := q["verbose"]
	switch {
	case failed:
		code, text = http.StatusInternalServerError, report.String()+path+" check failed\n"
	case verbose:
		text = report.String() + path + " check passed\n"
	}
	return h.send(w, r, code, mediaText, []byte(text))
}

const mediaText = "text/plain; charset=utf-8"

func (h *Handler) healthy(r *http.Request, c Check) bool {
	err := c.Run(r.Context())
	if err != nil {
		h.log.Warn("health check failed", zapPath(r), zapError(fmt.Errorf("%s: %w", c.Name, err)))
	}
	return err == nil
}
