package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func sampleCommands() []command {
	nested := &Txn{Else: []Op{{Delete: &DeleteRequest{Key: []byte("d"), End: []byte{0}, PrevKV: true}}}}
	return []command{
		{kind: commandGrant, lease: 1 << 60, ttl: time.Hour},
		{kind: commandRenew, lease: 7},
		{kind: commandGrant, lease: 7, ttl: 8, bound: 1 << 40},
		{kind: commandTxn, txn: &Txn{}, bound: 1, session: 1, seq: 2, ack: 1},
		{kind: commandRevoke, lease: 7},
		{kind: commandExpire, lease: 7, renewals: 3, term: 9},
		{kind: commandCompact, revision: 12345},
		{kind: commandOpen, cluster: 1 << 63},
		{kind: commandRevoke, lease: 7, session: 1 << 63, seq: 300, ack: 299},
		{kind: commandDescribe, about: &attributes{name: "a", version: 3, urls: []string{"http://a", "http://b"}, alarms: AlarmDisk}},
		{kind: commandForget, name: "b"},
		{kind: commandRaise, version: 300},
		{kind: commandTxn, txn: &Txn{}},
		{kind: commandTxn, txn: &Txn{
			Compares: []Compare{
				{Key: []byte("a"), End: []byte("b"), Target: CompareValue, Op: NotEqual, Value: []byte("v")},
				{Key: []byte("a"), Target: CompareLease, Op: Less, Number: -5},
			},
			Then: []Op{
				{Put: &PutRequest{Key: []byte("p"), Value: []byte("v"), Lease: 4, PrevKV: true}},
				{Put: &PutRequest{Key: []byte("p"), IgnoreLease: true, IgnoreValue: true}},
				{Range: &RangeRequest{Key: []byte("r"), End: []byte("s"), Limit: 5, Revision: 6, KeysOnly: true, SortBy: SortByMod, SortDescend: true}},
				{Range: &RangeRequest{Key: []byte("r"), CountOnly: true, MinModRevision: 1, MaxModRevision: 2, MinCreateRevision: 3, MaxCreateRevision: 4}},
				{Txn: nested},
			},
		}},
	}
}

func TestCommandCodec(t *testing.T) {
	var encoded [][]byte
	for _, c := range sampleCommands() {
		p := c.encode(nil)
		encoded = append(encoded, p)
		got, err := decodeCommand(p)
		require.NoError(t, err)
		require.Equal(t, c, got)
		for n := range p {
			_, err := decodeCommand(p[:n])
			require.Error(t, err, "%d of %d bytes", n, len(p))
		}
		_, err = decodeCommand(append(bytes.Clone(p), 0))
		require.ErrorIs(t, err, ErrCorrupt)
	}
	got, err := decodeEntry(encodeEntry(encoded))
	require.NoError(t, err)
	require.Equal(t, encoded, got)
	_, err = decodeEntry([]byte{nextFormat + 1, 0})
	require.ErrorIs(t, err, ErrVersion)
	_, err = decodeCommand([]byte{200})
	require.ErrorIs(t, err, ErrVersion)
}

func FuzzDecodeCommand(f *testing.F) {
	for _, c := range sampleCommands() {
		f.Add(c.encode(nil))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		c, err := decodeCommand(p)
		if err != nil {
			return
		}
		again, err := decodeCommand(c.encode(nil))
		require.NoError(t, err)
		require.Equal(t, c, again)
	})
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(encodeEntry([][]byte{{1, 2}, {}, {3}}))
	f.Fuzz(func(t *testing.T, p []byte) {
		commands, err := decodeEntry(p)
		if err != nil {
			return
		}
		again, err := decodeEntry(encodeEntry(commands))
		require.NoError(t, err)
		require.Equal(t, commands, again)
	})
}

// FuzzApply feeds whatever decodes to the state machine, which must refuse or do it, and twice the same.
func FuzzApply(f *testing.F) {
	for _, c := range sampleCommands() {
		f.Add(c.encode(nil), []byte{})
	}
	put := command{kind: commandTxn, txn: &Txn{Then: []Op{{Put: &PutRequest{Key: []byte("p"), Lease: 1}}}}}
	f.Add(put.encode(nil), put.encode(nil))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var snapshots [2]bytes.Buffer
		for i := range snapshots {
			st := newState()
			for _, p := range [][]byte{first, second, first} {
				c, err := decodeCommand(p)
				if err != nil || c.txn != nil && c.txn.validate(1000) != nil || c.kind == commandRaise && c.version > formatVersion {
					return
				}
				st.apply(&c, 1)
			}
			require.Equal(t, st.visited([]byte{0}, []byte{0}), int64(st.items.count("", "")))
			require.NoError(t, st.encode(&snapshots[i]))
		}
		require.Equal(t, snapshots[0].Bytes(), snapshots[1].Bytes())
		_, err := decodeSnapshot(&snapshots[0], formatVersion)
		require.NoError(t, err)
	})
}

func FuzzDecodeSnapshot(f *testing.F) {
	st := newState()
	for _, c := range sampleCommands() {
		st.apply(&c, 1)
	}
	var good, bare bytes.Buffer
	require.NoError(f, st.encodeWith(&good, st.sessions))
	require.NoError(f, st.encode(&bare))
	f.Add(good.Bytes())
	f.Add(bare.Bytes())
	f.Fuzz(func(t *testing.T, p []byte) {
		if st, err := decodeSnapshot(bytes.NewReader(p), formatVersion); err == nil {
			st.history(st.compacted, st.revision, 0)
		}
	})
}

func FuzzCheckBolt(f *testing.F) {
	s, err := openBoltLog(f.TempDir())
	require.NoError(f, err)
	require.NoError(f, s.SetUint64([]byte("term"), 3))
	require.NoError(f, s.Close())
	good, err := os.ReadFile(filepath.Clean(s.path))
	require.NoError(f, err)
	require.NoError(f, checkBolt(bytes.NewReader(good), int64(len(good))))
	f.Add(good)
	f.Fuzz(func(t *testing.T, p []byte) {
		err := checkBolt(bytes.NewReader(p), int64(len(p)))
		if err == nil && len(p) < 4096 {
			t.Fatal("a file of less than a page is no bolt file")
		}
	})
}
