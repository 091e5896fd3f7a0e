package store

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func tag(session, seq, ack uint64) *command {
	return &command{kind: commandGrant, lease: 1, ttl: 1, session: session, seq: seq, ack: ack}
}

// TestSessions tells what has been run from what has not, in whatever order it comes, over snapshots too.
func TestSessions(t *testing.T) {
	st := newState()
	check := func(fresh bool, session, seq, ack uint64) {
		t.Helper()
		err := st.apply(tag(session, seq, ack), 1).err
		require.Equal(t, fresh, err != errRepeated, "number %d", seq)
	}
	check(true, 1, 3, 1)
	check(true, 1, 1, 1)
	check(false, 1, 3, 1)
	check(false, 1, 1, 1)
	check(true, 2, 1, 1) // another session
	check(true, 1, 4, 2) // 1 is done with for its proposer
	check(false, 1, 1, 1)
	require.True(t, st.ran(1, 1))
	require.False(t, st.ran(1, 2))
	snapshot := st.snapshot()
	sessions := st.sharedSessions()
	check(true, 1, 2, 2)
	var out bytes.Buffer
	require.NoError(t, snapshot.encodeWith(&out, sessions))
	restored, err := decodeSnapshot(bytes.NewReader(out.Bytes()), formatVersion)
	require.NoError(t, err)
	st = restored
	check(false, 1, 4, 2)
	check(false, 1, 3, 2)
	check(true, 1, 2, 2)
	for n := range out.Len() {
		_, err := decodeSnapshot(bytes.NewReader(out.Bytes()[:n]), formatVersion)
		require.Error(t, err)
	}
}

// TestSessionsEnd forgets a session by the number of commands since its last use.
func TestSessionsEnd(t *testing.T) {
	st := newState()
	st.apply(tag(1, 1, 1), 1)
	st.apply(tag(2, 1, 1), 1)
	st.applied = sessionLife - sessionSweep
	st.apply(tag(2, 2, 2), 1)
	for st.applied < sessionLife+sessionSweep {
		st.apply(&command{kind: commandRenew, lease: 9}, 1)
	}
	require.False(t, st.ran(1, 1))
	require.True(t, st.ran(2, 2))
	require.Equal(t, 1, st.sessions.Len())
}
