package wire

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
)

// Check is one part of a server's health.
type Check struct {
	Name string
	Run  func(ctx context.Context) error

	// ReadyOnly keeps the check out of /livez and /healthz: what will get well by waiting is no reason for a restart.
	ReadyOnly bool
}

// health answers /healthz, /livez and /readyz, whole or one check. A failed check makes it 500.
func (h *Handler) health(w http.ResponseWriter, r *http.Request, segments []string) error {
	path := segments[0]
	checks := []Check{{Name: "ping", Run: func(context.Context) error { return nil }}}
	for _, c := range h.cfg.Checks {
		if path == "readyz" || !c.ReadyOnly {
			checks = append(checks, c)
		}
	}
	q := r.URL.Query()
	if len(segments) == 2 {
		i := slices.IndexFunc(checks, func(c Check) bool { return c.Name == segments[1] })
		if i < 0 {
			return h.notFoundPage(w, r)
		}
		checks = checks[i : i+1]
	} else if len(segments) > 2 {
		return h.notFoundPage(w, r)
	}
	var report bytes.Buffer
	failed := false
	for _, c := range checks {
		if slices.Contains(q["exclude"], c.Name) {
			fmt.Fprintf(&report, "[+]%s excluded: ok\n", c.Name)
			continue
		}
		if err := c.Run(r.Context()); err != nil {
			failed = true
			h.log.Warn("health check failed", zapPath(r), zapError(fmt.Errorf("%s: %w", c.Name, err)))
			fmt.Fprintf(&report, "[-]%s failed: reason withheld\n", c.Name) // anybody may read this
			continue
		}
		fmt.Fprintf(&report, "[+]%s ok\n", c.Name)
	}
	code, text := http.StatusOK, "ok"
	_, verbose := q["verbose"]
	switch {
	case failed:
		code, text = http.StatusInternalServerError, report.String()+path+" check failed\n"
	case verbose:
		text = report.String() + path + " check passed\n"
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	return h.send(w, r, code, "text/plain; charset=utf-8", []byte(text))
}
