package runtimetest

import (
	"context"
	"errors"
	"path"
	"strconv"
	"strings"
	"time"

	kruntime "github.com/keelson-dev/keelson/runtime"
)

// NoSuchCommand is a command that no runtime can execute: Script fails to start it, and no machine has it.
const NoSuchCommand = "/keelson/no-such-command"

// Script is the default behavior: it understands the few commands that tests of pods are made of, alone or as
// statements of "sh -c": sleep, echo (also with >&2), exit, true, false and trap for TERM. The first thing that it
// does not know runs until it is stopped, and so does a process without a command. A shell ended by SIGTERM has the
// code 143, as a real one.
func Script(p Process) Behavior {
	if len(p.Command) == 0 {
		return Behavior{}
	}
	if p.Command[0] == NoSuchCommand {
		return Behavior{StartError: "execute " + NoSuchCommand + ": no such file or directory"}
	}
	b := Behavior{TermCode: 143}
	switch name := path.Base(p.Command[0]); {
	case (name == "sh" || name == "bash" || name == "ash") && len(p.Command) >= 3 && p.Command[1] == "-c":
		script := strings.NewReplacer("&&", ";", "\n", ";").Replace(p.Command[2])
		for statement := range strings.SplitSeq(script, ";") {
			if ended, known := step(&b, strings.Fields(statement)); !known {
				return Behavior{TermCode: b.TermCode, IgnoreTerm: b.IgnoreTerm, Stdout: b.Stdout, Stderr: b.Stderr}
			} else if ended {
				break
			}
		}
		b.Exits = true
		return b
	case name == "sleep" || name == "echo" || name == "true" || name == "false":
		if _, known := step(&b, p.Command); known {
			b.Exits = true
			return b
		}
	}
	return Behavior{}
}

// step does one statement.
func step(b *Behavior, words []string) (ended, known bool) {
	if len(words) == 0 {
		return false, true
	}
	switch path.Base(words[0]) {
	case "exec":
		return step(b, words[1:])
	case "true", ":", "wait":
		b.Code = 0
	case "false":
		b.Code = 1
	case "exit":
		if len(words) > 1 {
			code, err := strconv.ParseUint(words[1], 10, 8)
			if err != nil {
				return false, false
			}
			b.Code = int32(code)
		}
		return true, true
	case "sleep":
		if len(words) != 2 {
			return false, false
		}
		seconds, err := strconv.ParseFloat(words[1], 64)
		if err != nil || seconds < 0 || seconds > 1e9 { // "infinity" parses, too
			return false, false
		}
		b.After += time.Duration(seconds * float64(time.Second))
		b.Code = 0
	case "echo":
		b.Code = 0
		text := strings.Join(words[1:], " ")
		if rest, ok := strings.CutSuffix(text, ">&2"); ok {
			b.Stderr += strings.Trim(strings.TrimSpace(rest), `"'`) + "\n"
		} else {
			b.Stdout += strings.Trim(text, `"'`) + "\n"
		}
	case "trap":
		if words[len(words)-1] != "TERM" {
			return false, false
		}
		action := strings.Fields(strings.Trim(strings.Join(words[1:len(words)-1], " "), `"'`))
		switch {
		case len(action) == 0:
			b.IgnoreTerm = true
		case action[0] == "exit":
			b.TermCode = 0
			if len(action) > 1 {
				code, err := strconv.ParseUint(action[1], 10, 8)
				if err != nil {
					return false, false
				}
				b.TermCode = int32(code)
			}
		default:
			return false, false
		}
	default:
		return false, false
	}
	return false, true
}

// runScript is the default of Config.Exec.
func runScript(ctx context.Context, p Process) (stdout, stderr []byte, err error) {
	b := Script(p)
	if b.StartError != "" {
		return nil, nil, errors.New(b.StartError)
	}
	if b.Exits && b.After > 0 {
		timer := time.NewTimer(b.After)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return []byte(b.Stdout), []byte(b.Stderr), ctx.Err()
		}
	}
	if b.Code != 0 {
		err = &kruntime.ExitError{Code: int(b.Code)}
	}
	return []byte(b.Stdout), []byte(b.Stderr), err
}
