package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

func testSealer(t testing.TB, dir uint64, keys ...Key) *sealer {
	var ring Keyring
	if len(keys) > 0 {
		ring = StaticKeys(keys)
	}
	s, err := newSealer(t.Context(), ring, dir)
	require.NoError(t, err)
	return s
}

func sealedBytes(t testing.TB, s *sealer, about, content []byte) []byte {
	var file bytes.Buffer
	w, err := s.newSealedWriter(t.Context(), &file, about)
	require.NoError(t, err)
	for rest := content; len(rest) > 0; { // in pieces that don't fit the chunks
		n, err := w.Write(rest[:min(len(rest), 50_001)])
		require.NoError(t, err)
		rest = rest[n:]
	}
	require.NoError(t, w.Close())
	return file.Bytes()
}

func openSealed(t testing.TB, s *sealer, file []byte) (about, content []byte, err error) {
	r := bytes.NewReader(file)
	h, err := readSealedHeader(r)
	if err != nil {
		return nil, nil, err
	}
	size, err := h.contentSize(int64(len(file)))
	if err != nil {
		return nil, nil, err
	}
	sr, err := s.newSealedReader(t.Context(), r, h)
	if err != nil {
		return nil, nil, err
	}
	content, err = io.ReadAll(sr)
	if err == nil {
		require.EqualValues(t, len(content), size)
	}
	return h.about, content, err
}

func TestSealedFile(t *testing.T) {
	for name, s := range map[string]*sealer{"plain": testSealer(t, 1), "encrypted": testSealer(t, 1, testKey("k"))} {
		t.Run(name, func(t *testing.T) {
			overhead := 4
			if name == "encrypted" {
				overhead += sealTag
			}
			for _, size := range []int{0, 1, 1000, sealedChunk - 1, sealedChunk, sealedChunk + 1, 3 * sealedChunk, 3*sealedChunk + 5} {
				content := bytes.Repeat([]byte("a secret "), size/9+1)[:size]
				file := sealedBytes(t, s, []byte("about"), content)
				about, got, err := openSealed(t, s, file)
				require.NoError(t, err, size)
				require.Equal(t, "about", string(about))
				require.True(t, bytes.Equal(content, got), size)
				require.Equal(t, name == "plain" && size > 8, bytes.Contains(file, []byte("a secret")))
				head := len(file) - size - max(1, (size+sealedChunk-1)/sealedChunk)*overhead
				// Every cut is noticed, those between chunks too.
				cuts := []int{0, 5, head - 1, head, head + 1, len(file) - 1}
				for at := head; at < len(file); at += sealedChunk + overhead {
					cuts = append(cuts, at, at+1)
				}
				for _, n := range cuts {
					if n < len(file) {
						_, _, err := openSealed(t, s, file[:n])
						require.ErrorIs(t, err, ErrCorrupt, "%d of %d", n, len(file))
					}
				}
				_, _, err = openSealed(t, s, append(bytes.Clone(file), 0))
				require.ErrorIs(t, err, ErrCorrupt, "one byte more")
				for at := 0; at < len(file); at += 1 + len(file)/300 {
					damaged := bytes.Clone(file)
					damaged[at] ^= 1 << (at % 8)
					_, _, err := openSealed(t, s, damaged)
					require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion), "byte %d of %d: %v", at, len(file), err)
				}
			}
		})
	}
}

// TestSealedFileOrder has whole chunks in wrong places, with checksums that are right for these.
func TestSealedFileOrder(t *testing.T) {
	s := testSealer(t, 1, testKey("k"))
	content := bytes.Repeat([]byte{1}, 3*sealedChunk)
	a, b := sealedBytes(t, s, []byte("about"), content), sealedBytes(t, s, []byte("about"), content)
	stored := sealedChunk + sealTag + 4
	head := len(a) - 3*stored
	chunk := func(file []byte, i int) []byte { return file[head+i*stored:][:stored] }
	build := func(header []byte, chunks ...[]byte) []byte {
		file := bytes.Clone(header)
		h, err := readSealedHeader(bytes.NewReader(header))
		require.NoError(t, err)
		for i, c := range chunks {
			c = bytes.Clone(c)
			sum := chunkSum(h.sum(), chunkNonce(uint64(i), i == len(chunks)-1), c[:len(c)-4])
			c[len(c)-4], c[len(c)-3], c[len(c)-2], c[len(c)-1] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
			file = append(file, c...)
		}
		return file
	}
	_, _, err := openSealed(t, s, build(a[:head], chunk(a, 0), chunk(a, 1), chunk(a, 2)))
	require.NoError(t, err, "the check itself works")
	for what, file := range map[string][]byte{
		"swapped":                build(a[:head], chunk(a, 1), chunk(a, 0), chunk(a, 2)),
		"cut":                    build(a[:head], chunk(a, 0), chunk(a, 1)),
		"repeated":               build(a[:head], chunk(a, 0), chunk(a, 0), chunk(a, 2)),
		"longer":                 build(a[:head], chunk(a, 0), chunk(a, 1), chunk(a, 2), chunk(a, 2)),
		"another file's chunk":   build(a[:head], chunk(a, 0), chunk(b, 1), chunk(a, 2)),
		"another file's header":  build(b[:head], chunk(a, 0), chunk(a, 1), chunk(a, 2)),
		"another file's content": build(b[:head], chunk(a, 0), chunk(b, 1), chunk(b, 2)),
	} {
		_, _, err := openSealed(t, s, file)
		require.ErrorIs(t, err, ErrKey, what)
	}
}

func TestSealedFileKeys(t *testing.T) {
	old := testSealer(t, 1, testKey("old"))
	file := sealedBytes(t, old, nil, []byte("content"))
	for _, s := range []*sealer{nil, testSealer(t, 1), testSealer(t, 1, testKey("new"))} {
		_, _, err := openSealed(t, s, file)
		var missing *KeyError
		require.ErrorAs(t, err, &missing)
		require.Equal(t, "old", missing.ID)
	}
	_, content, err := openSealed(t, testSealer(t, 1, testKey("new"), testKey("old")), file)
	require.NoError(t, err)
	require.Equal(t, "content", string(content))
	_, _, err = openSealed(t, testSealer(t, 1, Key{"old", testKey("other").Secret}), file)
	require.ErrorIs(t, err, errWrongKey)
	require.NotErrorIs(t, err, ErrCorrupt)
}

func FuzzSealedFile(f *testing.F) {
	plain, encrypted := testSealer(f, 1), testSealer(f, 1, testKey("k"))
	about := snapshotAbout{1, raft.SnapshotMeta{Version: 1, Term: 2, Index: 3, Configuration: raft.Configuration{
		Servers: []raft.Server{{ID: "a", Address: "b"}}, // and so a member is in it
	}}}
	for _, s := range []*sealer{plain, encrypted} {
		f.Add(sealedBytes(f, s, about.encode(), nil))
		f.Add(sealedBytes(f, s, about.encode(), []byte("content")))
		f.Add(sealedBytes(f, s, about.encode(), bytes.Repeat([]byte("x"), sealedChunk+1)))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		h, err := readSealedHeader(bytes.NewReader(file))
		if err != nil {
			return
		}
		if about, err := decodeSnapshotAbout(h.about); err == nil {
			again, err := decodeSnapshotAbout(about.encode())
			require.NoError(t, err)
			require.Equal(t, about, again)
		}
		if _, content, err := openSealed(t, encrypted, file); err == nil && h.form == formPlain {
			_, again, err := openSealed(t, plain, sealedBytes(t, plain, h.about, content))
			require.NoError(t, err)
			require.True(t, bytes.Equal(content, again))
		}
	})
}

// TestSealedEntries shows that an entry is good for its own place only.
func TestSealedEntries(t *testing.T) {
	s := testSealer(t, 7, testKey("k"))
	log := &checkedLog{seal: s}
	entry := raft.Log{Index: 5, Term: 2, Type: raft.LogCommand, Data: []byte("a secret")}
	stored, err := log.wrap(nil, &entry)
	require.NoError(t, err)
	require.NotContains(t, string(stored), "secret")
	again, err := log.wrap(nil, &entry)
	require.NoError(t, err)
	require.NotEqual(t, stored, again)
	resum := func(e raft.Log) *raft.Log {
		n := len(e.Data) - 4
		sum := entrySum(&e, e.Data[:n])
		e.Data = append(bytes.Clone(e.Data[:n]), byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
		return &e
	}
	at := func(index, term uint64, kind raft.LogType) raft.Log {
		return raft.Log{Index: index, Term: term, Type: kind, Data: stored}
	}
	good := resum(at(5, 2, raft.LogCommand))
	require.NoError(t, log.unwrap(t.Context(), good))
	require.Equal(t, "a secret", string(good.Data))
	for what, e := range map[string]raft.Log{
		"index": at(6, 2, raft.LogCommand), "term": at(5, 3, raft.LogCommand), "type": at(5, 2, raft.LogNoop),
	} {
		require.ErrorIs(t, log.unwrap(t.Context(), &e), ErrCorrupt, what)
		require.ErrorIs(t, log.unwrap(t.Context(), resum(e)), ErrKey, what)
	}
	elsewhere := &checkedLog{seal: testSealer(t, 8, testKey("k"))}
	require.ErrorIs(t, elsewhere.unwrap(t.Context(), resum(at(5, 2, raft.LogCommand))), ErrKey, "another directory")
	for n := range len(stored) - logTrailer { // no length is fatal
		e := at(5, 2, raft.LogCommand)
		e.Data = append(bytes.Clone(stored[:n]), formAES, 0, 0, 0, 0)
		require.Error(t, log.unwrap(t.Context(), resum(e)), fmt.Sprint(n))
	}
	// A new subkey after so many entries, and what the old one sealed stays readable.
	before := s.current
	s.left = 0
	next, err := log.wrap(nil, &entry)
	require.NoError(t, err)
	require.NotEqual(t, before.salt, s.current.salt)
	for _, p := range [][]byte{stored, next} {
		e := raft.Log{Index: 5, Term: 2, Type: raft.LogCommand, Data: p}
		require.NoError(t, log.unwrap(t.Context(), &e))
	}
}
