package logs

import (
	"bytes"
	"fmt"
	"time"
)

// Record is one line of a log file.
type Record struct {
	Time    time.Time
	Stream  string // stdout or stderr
	Partial bool   // the next record of the stream continues the line
	Text    []byte // without the line's end
}

// Parse reads one line, with or without its end. The record's text shares line's memory.
func Parse(line []byte) (Record, error) {
	line = bytes.TrimSuffix(line, []byte("\n"))
	stamp, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return Record{}, fmt.Errorf("log line %.40q: want time, stream, tag and text", line)
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Record{}, fmt.Errorf("log line %.40q: time: %w", line, err)
	}
	stream, rest, ok := bytes.Cut(rest, []byte(" "))
	if s := string(stream); !ok || s != "stdout" && s != "stderr" {
		return Record{}, fmt.Errorf("log line %.40q: stream %.10q: want stdout or stderr", line, stream)
	}
	tags, text, _ := bytes.Cut(rest, []byte(" "))
	tag, _, _ := bytes.Cut(tags, []byte(":")) // more tags may follow, separated by colons
	switch string(tag) {
	case "F":
	case "P":
	default:
		return Record{}, fmt.Errorf("log line %.40q: tag %.10q: want F or P", line, tag)
	}
	return Record{at, string(stream), string(tag) == "P", text}, nil
}
