package etcdapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-dev/keelson/store"
)

// check is one of the things that a probe may ask for.
type check struct {
	name string
	run  func(*Server, context.Context) error
}

// The checks are etcd's, by name and meaning.
var (
	checkSerializable = check{"serializable_read", func(s *Server, ctx context.Context) error { return s.tryRead(ctx, true) }}
	checkLinearizable = check{"linearizable_read", func(s *Server, ctx context.Context) error { return s.tryRead(ctx, false) }}
	checkCorruption   = check{"data_corruption", func(s *Server, ctx context.Context) error { return s.tryAlarm(ctx, pb.AlarmType_CORRUPT) }}
	checkVoter        = check{"non_learner", (*Server).tryVoter}
)

// ServeHTTP answers what etcd answers over HTTP on the port for clients: /version, /health, /livez and /readyz with
// the names of single checks below them, and /metrics with Config.Metrics. /livez says whether the process can serve
// at all, /readyz whether it has a leader too. The queries exclude, verbose and serializable are etcd's.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	if path == "/metrics" && s.cfg.Metrics != nil {
		s.cfg.Metrics.ServeHTTP(w, r)
		return
	}
	var serve func(http.ResponseWriter, *http.Request)
	switch root, name, single := strings.Cut(strings.TrimPrefix(path, "/"), "/"); {
	case path == "/version":
		serve = s.version
	case path == "/health":
		serve = s.health
	case root == "livez":
		serve = s.probe(name, single, checkSerializable)
	case root == "readyz":
		serve = s.probe(name, single, checkCorruption, checkSerializable, checkLinearizable, checkVoter)
	}
	switch {
	case serve == nil:
		http.NotFound(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	default:
		serve(w, r)
	}
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{
		"etcdserver": s.cfg.Version, "etcdcluster": minor(s.cfg.Version) + ".0", "storage": minor(s.cfg.Version) + ".0",
	})
}

func writeJSON(w http.ResponseWriter, code int, content map[string]string) {
	text, err := json.Marshal(content)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(text) // the client is gone if it fails
}

// health is etcd's older probe: alarms, a leader, a read.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	serializable := query.Get("serializable") == "true"
	reason := ""
	alarms, err := s.alarmsNow(r.Context())
	for _, a := range alarms {
		if !slices.Contains(query["exclude"], a.Alarm.String()) {
			reason = "ALARM " + a.Alarm.String()
		}
	}
	switch {
	case err != nil:
		reason = fmt.Sprintf("RANGE ERROR:%v", err)
	case reason != "":
	case !serializable && !s.store.HasLeader():
		reason = "RAFT NO LEADER"
	default:
		if err := s.tryRead(r.Context(), serializable); err != nil {
			reason = fmt.Sprintf("RANGE ERROR:%v", err)
		}
	}
	if reason != "" {
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"health": "false", "reason": reason})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"health": "true", "reason": ""})
}

// probe runs checks, or a single one by name. Nil means that there is no such check.
func (s *Server) probe(name string, single bool, checks ...check) func(http.ResponseWriter, *http.Request) {
	if single {
		checks = slices.DeleteFunc(checks, func(c check) bool { return c.name != name })
		if len(checks) == 0 {
			return nil
		}
	}
	return func(w http.ResponseWriter, r *http.Request) {
		query, failed := r.URL.Query(), false
		var report strings.Builder
		for _, c := range checks {
			if !single && slices.Contains(query["exclude"], c.name) {
				continue
			}
			if err := c.run(s, r.Context()); err != nil {
				failed = true
				fmt.Fprintf(&report, "[-]%s failed: %v\n", c.name, err)
			} else {
				fmt.Fprintf(&report, "[+]%s ok\n", c.name)
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if failed {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, report.String())
			return
		}
		if query.Has("verbose") {
			fmt.Fprint(w, report.String())
		}
		fmt.Fprint(w, "ok\n")
	}
}

func (s *Server) tryRead(ctx context.Context, serializable bool) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	_, err := s.store.Range(ctx, store.RangeRequest{Key: []byte{0}, KeysOnly: true, Serializable: serializable})
	return s.failed(ctx, err)
}

func (s *Server) alarmsNow(ctx context.Context) ([]*pb.AlarmMember, error) {
	st, err := s.store.Status(ctx)
	if err != nil {
		return nil, s.fail(err)
	}
	m := s.members(&st)
	return s.alarms(&st, &m), nil
}

func (s *Server) tryAlarm(ctx context.Context, kind pb.AlarmType) error {
	alarms, err := s.alarmsNow(ctx)
	for _, a := range alarms {
		if a.Alarm == kind {
			return fmt.Errorf("alarm activated: %s", kind)
		}
	}
	return err
}

func (s *Server) tryVoter(ctx context.Context) error {
	m, err := s.list(ctx, false)
	if err == nil && m.self.learner {
		return errors.New("not supported for learner")
	}
	return err
}
