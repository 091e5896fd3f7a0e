package store_test

import (
	"fmt"
	"os"
	"time"

	"go.uber.org/zap/zapcore"
)

var simTraceFile = func() *os.File {
	if name := os.Getenv("SIMTRACE"); name != "" {
		f, _ := os.Create(name)
		return f
	}
	return nil
}()

func simTrace(l simLogger, e zapcore.Entry, fields []zapcore.Field) {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	fmt.Fprintf(simTraceFile, "%v %s %s %v\n", time.Since(l.sim.start), l.name, e.Message, enc.Fields)
}
