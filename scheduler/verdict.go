package scheduler

import "fmt"

// Code classifies a verdict.
type Code int

// The codes.
const (
	Unschedulable Code = iota // not here, not now; making room could change it
	Unresolvable              // not here, whatever is removed
	Failed                    // the stage itself went wrong; the unit is tried again after a back-off
	Wait                      // for Permit: not yet
	Skip                      // for Bind: not mine
)

// String is the code's name.
func (c Code) String() string {
	switch c {
	case Unschedulable:
		return "Unschedulable"
	case Unresolvable:
		return "Unresolvable"
	case Failed:
		return "Failed"
	case Wait:
		return "Wait"
	case Skip:
		return "Skip"
	}
	return fmt.Sprintf("Code(%d)", int(c))
}

// Verdict is a stage's objection. A nil *Verdict is agreement.
type Verdict struct {
	Code   Code
	Plugin string // set by the scheduler
	Reason string // as it stands in the pod's condition, such as "Insufficient cpu"
	Err    error  // for Failed
}

// Reject says that a unit does not fit at present.
func Reject(format string, args ...any) *Verdict {
	return &Verdict{Code: Unschedulable, Reason: fmt.Sprintf(format, args...)}
}

// RejectForGood says that a unit does not fit a target whatever leaves it.
func RejectForGood(format string, args ...any) *Verdict {
	return &Verdict{Code: Unresolvable, Reason: fmt.Sprintf(format, args...)}
}

// Fail says that a stage could not do its work.
func Fail(err error) *Verdict { return &Verdict{Code: Failed, Reason: err.Error(), Err: err} }

func (v *Verdict) by(plugin string) *Verdict {
	if v == nil || v.Plugin == plugin {
		return v
	}
	c := *v
	c.Plugin = plugin
	return &c
}
