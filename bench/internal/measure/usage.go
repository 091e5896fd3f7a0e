package measure

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what a process has used up to now.
type Usage struct {
	CPU time.Duration
	// Resident and Anonymous are bytes in memory; what is not anonymous belongs to files. Peak is the most that were resident
	// since the process began, or since ResetPeak.
	Resident, Anonymous, Peak int64
}

// Of asks the system about a process, which need not be of this program.
func Of(pid int) (u Usage, err error) {
	// The clock of a process has nanoseconds; times in /proc have hundredths of seconds. Linux: include/linux/posix-timers.h.
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|2, &ts); err != nil {
		return u, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	u.CPU = time.Duration(ts.Nano())
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	defer func() { _ = f.Close() }() // it was only read
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		into := map[string]*int64{"VmRSS": &u.Resident, "RssAnon": &u.Anonymous, "VmHWM": &u.Peak}[name]
		if into == nil {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return u, err
		}
		*into = kib << 10
	}
	return u, lines.Err()
}

// ResetPeak has Usage.Peak begin anew at what is resident now.
func ResetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}
