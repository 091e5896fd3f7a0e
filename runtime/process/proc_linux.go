package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// clockTicks is USER_HZ, the unit of times in /proc: 100 on every Linux that Go runs on.
const clockTicks = 100

// procStat is what we need of /proc/PID/stat (proc(5)).
type procStat struct {
	state                        byte
	parent, session              int
	faults                       uint64
	utime, stime, cutime, cstime uint64
	start                        uint64
	rss                          uint64
}

func readStat(pid int) (procStat, error) {
	content, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	return parseStat(content)
}

// parseStat begins after the name in parentheses, which may hold anything, also parentheses and spaces.
func parseStat(content []byte) (procStat, error) {
	i := bytes.LastIndexByte(content, ')')
	if i < 0 {
		return procStat{}, fmt.Errorf("no name in process status %q", content)
	}
	f := strings.Fields(string(content[i+1:])) // f[0] is field 3
	if len(f) < 22 || len(f[0]) != 1 {
		return procStat{}, fmt.Errorf("process status of %d fields, want at least 24", len(f)+2)
	}
	number := func(field int) uint64 {
		n, _ := strconv.ParseUint(f[field-3], 10, 64)
		return n
	}
	return procStat{
		state: f[0][0], parent: int(number(4)), session: int(number(6)), faults: number(10),
		utime: number(14), stime: number(15), cutime: number(16), cstime: number(17),
		start: number(22), rss: number(24),
	}, nil
}

func pids() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var out []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

// startTime returns when a process started; a zombie counts as gone.
func startTime(pid int) (uint64, bool) {
	stat, err := readStat(pid)
	return stat.start, err == nil && stat.state != 'Z' && stat.state != 'X'
}

func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}
