package store

import (
	"io"
	"log"
	"slices"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newerTerm is what Raft tells as an error when another member has come to lead, as it does when it is asked to.
const newerTerm = "peer has newer term, stopping replication"

// raftLogger gives Raft's log to zap. Raft tells the ordinary course of things as information and even as warnings:
// these go one and two levels down. That a message did not get through it tells with each, as an error; the member's own
// connections tell it once (peers.unreached).
type raftLogger struct {
	zap  *zap.SugaredLogger
	name string
	args []any
}

var _ hclog.Logger = (*raftLogger)(nil)

func newRaftLogger(logger *zap.Logger) *raftLogger {
	return &raftLogger{zap: logger.Named("raft").WithOptions(zap.AddCallerSkip(1)).Sugar(), name: "raft"}
}

func (l *raftLogger) Log(level hclog.Level, msg string, args ...any) {
	switch {
	case level >= hclog.Error && aboutConnections(msg):
		l.zap.Debugw(msg, args...)
	case level >= hclog.Error && msg == newerTerm:
		l.zap.Infow(msg, args...)
	case level >= hclog.Error:
		l.zap.Errorw(msg, args...)
	case level == hclog.Warn:
		l.zap.Infow(msg, args...)
	default:
		l.zap.Debugw(msg, args...)
	}
}

func aboutConnections(msg string) bool {
	switch msg {
	case "failed to heartbeat to", "failed to appendEntries to", "failed to make requestVote RPC",
		"failed to accept connection", "failed to decode incoming command", "failed to flush response":
		return true
	}
	return false
}

func (l *raftLogger) Trace(string, ...any)          {}
func (l *raftLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *raftLogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *raftLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *raftLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *raftLogger) enabled(level zapcore.Level) bool { return l.zap.Level().Enabled(level) }

func (l *raftLogger) IsTrace() bool { return false }
func (l *raftLogger) IsDebug() bool { return l.enabled(zapcore.DebugLevel) }
func (l *raftLogger) IsInfo() bool  { return l.enabled(zapcore.DebugLevel) }
func (l *raftLogger) IsWarn() bool  { return l.enabled(zapcore.InfoLevel) }
func (l *raftLogger) IsError() bool { return l.enabled(zapcore.ErrorLevel) }

func (l *raftLogger) ImpliedArgs() []any { return l.args }
func (l *raftLogger) Name() string       { return l.name }

func (l *raftLogger) With(args ...any) hclog.Logger {
	return &raftLogger{zap: l.zap.With(args...), name: l.name, args: append(slices.Clone(l.args), args...)}
}

func (l *raftLogger) Named(name string) hclog.Logger {
	return &raftLogger{zap: l.zap.Named(name), name: l.name + "." + name, args: l.args}
}

func (l *raftLogger) ResetNamed(name string) hclog.Logger {
	return &raftLogger{zap: l.zap, name: name, args: l.args}
}

func (l *raftLogger) SetLevel(hclog.Level) {} // zap decides

func (l *raftLogger) GetLevel() hclog.Level {
	switch {
	case l.IsDebug():
		return hclog.Debug
	case l.IsWarn():
		return hclog.Warn
	case l.IsError():
		return hclog.Error
	default:
		return hclog.Off
	}
}

func (l *raftLogger) StandardLogger(opts *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(opts), "", 0)
}

func (l *raftLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return &zapcoreWriter{l.zap}
}

// zapcoreWriter logs each write as a line.
type zapcoreWriter struct{ zap *zap.SugaredLogger }

func (w *zapcoreWriter) Write(p []byte) (int, error) {
	w.zap.Debug(string(p))
	return len(p), nil
}
