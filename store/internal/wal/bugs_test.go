package wal

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/keelson-dev/keelson/store/internal/fault"
	"github.com/stretchr/testify/require"
)

var reliability = flag.String("reliability", "", "document whose table of this log's known bugs is renewed")

// TestCatches puts known bugs back, one at a time, and cuts the power until one of them shows.
func TestCatches(t *testing.T) {
	const enough = 300
	table := []string{"| bug of the log | what caught it | schedules until then |", "| --- | --- | --- |"}
	for _, b := range []struct {
		name  string
		bugs  bugs
		scene func(t *testing.T, bugs bugs) bool // whether it shows
	}{
		{name: "a frame is not synced", bugs: bugs{noFrameSync: true}},
		{name: "the beginning of a segment is not synced", bugs: bugs{noBeginSync: true}},
		{name: "the name of a segment is not synced", bugs: bugs{noNameSync: true}},
		{name: "a segment is freed before its entries are dropped", bugs: bugs{earlyFree: true}},
		{name: "a frame is believed whatever its checksum is", bugs: bugs{anySum: true}},
		{name: "what was read last is not written again", bugs: bugs{noRewrite: true}, scene: func(t *testing.T, bugs bugs) bool {
			return forgets(t, bugs) != 3
		}},
	} {
		t.Run(strings.ReplaceAll(b.name, " ", "_"), func(t *testing.T) {
			if b.scene != nil {
				require.False(t, b.scene(t, bugs{}))
				require.True(t, b.scene(t, b.bugs))
				table = append(table, fmt.Sprintf("| %s | a power cut after a sync that failed | a scene |", b.name))
				return
			}
			for n := uint64(1); n <= enough; n++ {
				if err := powerCuts(2*n, false, b.bugs, &tally{}); err != nil { // the even ones are the same each time
					check := "acknowledged entries and keys are there, and nothing else"
					if errors.Is(err, fault.ErrCorrupt) {
						check = "the log says that it is damaged"
					}
					t.Logf("%d: %v", n, err)
					table = append(table, fmt.Sprintf("| %s | %s | %d |", b.name, check, n))
					return
				}
			}
			t.Errorf("%d schedules did not show it", enough)
		})
	}
	if *reliability == "" || t.Failed() {
		return
	}
	text, err := os.ReadFile(*reliability)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(text), "<!-- wal bugs -->\n")
	require.True(t, found)
	_, after, found := strings.Cut(rest, "<!-- /wal bugs -->")
	require.True(t, found)
	renewed := before + "<!-- wal bugs -->\n" + strings.Join(table, "\n") + "\n<!-- /wal bugs -->" + after
	require.NoError(t, os.WriteFile(*reliability, []byte(renewed), 0o644))
}
