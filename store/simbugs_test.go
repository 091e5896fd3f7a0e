package store_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

var (
	allBugs     = flag.Bool("bugs", false, "put back all known bugs, instead of those that are caught soonest")
	reliability = flag.String("reliability", "", "document whose tables and figures are renewed from this run")
)

// simBug is a known bug and what catches it: schedules, or a scene, where it needs a rare moment.
type simBug struct {
	bug   store.Bug
	soon  bool // the first few schedules catch it
	scene func(t *testing.T, bug store.Bug) string
}

var simBugs = []simBug{
	{bug: store.BugVerifyLeader, scene: sceneRead},
	{bug: store.BugNoConfirm},
	{bug: store.BugNonVoters, scene: sceneNonVoters},
	{bug: store.BugSharesRound},
	{bug: store.BugEarlyReign},
	{bug: store.BugNoCommitWait},
	{bug: store.BugLatePublish},
	{bug: store.BugEarlyAck},
	{bug: store.BugRepeats, soon: true},
	{bug: store.BugShortSessions},
	{bug: store.BugLostSessions},
	{bug: store.BugLiveSnapshot},
	{bug: store.BugNoTombstones},
	{bug: store.BugKeepsWatchers},
	{bug: store.BugAnyExpiry, scene: sceneLease},
	{bug: store.BugNoFullTime, scene: sceneFullTime},
	{bug: store.BugAttachesBoth},
	{bug: store.BugSkipsFirst, soon: true},
	{bug: store.BugAheadBookmark, soon: true},
	{bug: store.BugSplitsTxn},
	{bug: store.BugOverTrim},
	{bug: store.BugCountsLimit},
	{bug: store.BugKeepsCreate},
	{bug: store.BugSkipsSync},
	{bug: store.BugForgetsVote},
}

// TestSimulationCatches puts known bugs back, one at a time, and runs schedules until one of them shows.
func TestSimulationCatches(t *testing.T) {
	const enough = 100
	var mu sync.Mutex
	caught := map[store.Bug]string{}
	t.Run("bug", func(t *testing.T) {
		for _, b := range simBugs {
			if !*allBugs && !b.soon {
				continue
			}
			t.Run(strings.ReplaceAll(string(b.bug), " ", "_"), func(t *testing.T) {
				t.Parallel()
				note := func(check, when string) {
					t.Logf("%s: %s", when, check)
					mu.Lock()
					caught[b.bug] = fmt.Sprintf("| %s | %s | %s |", b.bug, check, when)
					mu.Unlock()
				}
				if b.scene != nil {
					require.Empty(t, b.scene(t, ""), "without the bug")
					check := b.scene(t, b.bug)
					require.NotEmpty(t, check, "the scene did not show it")
					note(check, "a scene")
					return
				}
				for seed := uint64(1); seed <= enough; seed++ {
					if sim := simulate(t, seed, b.bug); len(sim.problems) > 0 {
						note(simCheck(sim.problems[0]), fmt.Sprint(seed))
						return
					}
				}
				t.Errorf("%d schedules did not show it", enough)
			})
		}
	})
	if *reliability != "" && *allBugs && !t.Failed() {
		table := []string{"| bug | what caught it | schedules until then |", "| --- | --- | --- |"}
		for _, b := range simBugs {
			table = append(table, caught[b.bug])
		}
		require.NoError(t, renew(*reliability, "bugs", strings.Join(table, "\n")))
	}
}

// simCheck is a problem's kind.
func simCheck(problem string) string {
	for _, kind := range []struct{ part, check string }{
		{"history is not linearizable", "porcupine"},
		{"not linearizable: ", "order of revisions against real time"},
		{"revision is in the future", "a revision that was told is there"},
		{"and then reads at", "a member reads what it has acknowledged"},
		{"is lost", "acknowledged writes are there"},
		{"applied twice", "no write twice"},
		{"applied 2", "no write twice"},
		{"came, and", "watch: no gap, no repeat"},
		{"another has seen", "watch: all watchers see the same"},
		{"is told that it has seen", "watch: bookmark not ahead"},
		{"with a bookmark of", "watch: bookmark not ahead"},
		{"should have seen", "watch of a key against all events"},
		{"early", "leases not before their time"},
		{"has no lease since", "keys outlive a lease they left"},
		{"its lease", "leases end"},
		{"members differ", "equal hashes and sizes"},
		{"diverged", "equal hashes, compared by the members"},
		{"fell from", "terms never fall"},
		{"both lead", "one leader a term"},
		{"events:", "events against a naive model"},
		{"and the answer says", "ranges against a naive model"},
		{"before was", "previous versions against a naive model"},
		{"does not come back", "members come back"},
		{"open", "members open again"},
	} {
		if strings.Contains(problem, kind.part) {
			return kind.check
		}
	}
	return strings.SplitN(problem, "\n", 2)[0]
}

// renew replaces what is between the marks of a name in a document.
func renew(path, name, text string) error {
	document, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	from := strings.Index(string(document), begin)
	to := strings.Index(string(document), end)
	if from < 0 || to < from {
		return fmt.Errorf("%s has no marks for %q", path, name)
	}
	return os.WriteFile(path, []byte(string(document[:from])+begin+text+"\n"+string(document[to:])), 0o644)
}
