package store

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// What is written to disk is encrypted with AES-256-GCM. A Key's secret encrypts nothing itself: from it and a random
// salt a subkey is derived (HKDF-SHA256, RFC 5869), for each snapshot file, and for the log each time it is opened and
// again after entriesPerSalt entries. So there is no bound on what one Key encrypts that could be reached.
//
// An entry has a random nonce of 96 bits. Two of 2^28 under one subkey are the same with a probability below 2^-40;
// NIST SP 800-38D (8.3) asks for 2^-32. Random and not counted, since a copy of a running machine counts on from
// the same number. What is authenticated with an entry is the directory's id, its index, its term and its type: an
// entry that is in another's place, or from another directory, is refused.
const (
	sealSalt       = 16
	sealNonce      = 12
	sealTag        = 16
	entriesPerSalt = 1 << 28
)

// Purposes of subkeys, so that what was encrypted for one can't pass for another.
const (
	sealForEntries   = "keelson log entries 1"
	sealForSnapshots = "keelson snapshot file 1"
)

// sealer encrypts for one directory. Without a keyring it leaves everything as it is, and opens nothing that is
// encrypted.
type sealer struct {
	keys Keyring
	dir  uint64

	mu      sync.Mutex
	current *subkey              // what entries are sealed with; nil without a keyring
	left    int                  // how many more
	known   map[subkeyID]*subkey // that entries were opened with
}

type subkeyID struct {
	key     string
	salt    [sealSalt]byte
	purpose string
}

type subkey struct {
	subkeyID
	secret Key
	aead   cipher.AEAD
}

// maxKnown bounds the subkeys that are remembered: one for each time the log was opened since its oldest entry.
const maxKnown = 1024

// newSealer asks the keyring for the current key.
func newSealer(ctx context.Context, keys Keyring, dir uint64) (*sealer, error) {
	s := &sealer{keys: keys, dir: dir, known: map[subkeyID]*subkey{}}
	return s, s.rotate(ctx)
}

// rotate goes over to the key that is current now.
func (s *sealer) rotate(ctx context.Context) error {
	if s == nil || s.keys == nil {
		return nil
	}
	key, err := s.keys.Current(ctx)
	if err != nil {
		return keyFailure("", err)
	}
	next, err := newSubkey(key, sealForEntries)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.use(next)
	return nil
}

// use seals entries with k. The caller holds the lock.
func (s *sealer) use(k *subkey) {
	s.current, s.left = k, entriesPerSalt
	s.remember(k)
}

func (s *sealer) remember(k *subkey) {
	if len(s.known) >= maxKnown {
		clear(s.known)
	}
	s.known[k.subkeyID] = k
}

// keyFailure gives an error of a keyring its kind.
func keyFailure(id string, err error) error {
	var missing *KeyError
	if errors.As(err, &missing) {
		return err
	}
	return &KeyError{id, err}
}

// newSubkey derives a subkey with a new salt.
func newSubkey(key Key, purpose string) (*subkey, error) {
	id := subkeyID{key: key.ID, purpose: purpose}
	if _, err := rand.Read(id.salt[:]); err != nil {
		return nil, err
	}
	return deriveSubkey(key, id)
}

func deriveSubkey(key Key, id subkeyID) (*subkey, error) {
	if err := key.validate(); err != nil {
		return nil, err
	}
	derived, err := hkdf.Key(sha256.New, key.Secret, id.salt[:], id.purpose, KeySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &subkey{id, key, aead}, nil
}

// find returns the subkey of this name, from the keyring if need be.
func (s *sealer) find(ctx context.Context, id subkeyID) (*subkey, error) {
	if s == nil || s.keys == nil {
		return nil, &KeyError{id.key, errNoKeyring}
	}
	s.mu.Lock()
	k := s.known[id]
	s.mu.Unlock()
	if k != nil {
		return k, nil
	}
	key, err := s.keys.Key(ctx, id.key)
	if err != nil {
		return nil, keyFailure(id.key, err)
	}
	if key.ID != id.key {
		return nil, &KeyError{id.key, fmt.Errorf("the keyring gave %v", key)}
	}
	if k, err = deriveSubkey(key, id); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remember(k)
	return k, nil
}

// forEntry returns what the next entry is sealed with; nil if it stays as it is.
func (s *sealer) forEntry() (*subkey, error) {
	if s == nil || s.keys == nil {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 {
		next, err := newSubkey(s.current.secret, sealForEntries)
		if err != nil {
			return nil, err
		}
		s.use(next)
	}
	s.left--
	return s.current, nil
}

// sealEntry appends the encrypted data of an entry: the key's name with its length in a byte, the salt, the nonce, and
// what GCM makes of the data.
func (s *sealer) sealEntry(p []byte, k *subkey, entry *raft.Log) ([]byte, error) {
	p = append(p, byte(len(k.key)))
	p = append(p, k.key...)
	p = append(p, k.salt[:]...)
	var nonce [sealNonce]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, err
	}
	p = append(p, nonce[:]...)
	return k.aead.Seal(p, nonce[:], entry.Data, s.bind(entry)), nil
}

// sealedSize is how much longer sealEntry makes data.
func (k *subkey) sealedSize() int { return 1 + len(k.key) + sealSalt + sealNonce + sealTag }

// bind is what is authenticated with an entry's data.
func (s *sealer) bind(entry *raft.Log) []byte {
	p := make([]byte, 0, 25)
	p = binary.BigEndian.AppendUint64(p, s.dir)
	p = binary.BigEndian.AppendUint64(p, entry.Index)
	p = binary.BigEndian.AppendUint64(p, entry.Term)
	return append(p, byte(entry.Type))
}

// sealedBy says which subkey a sealed entry names, and returns what follows.
func sealedBy(data []byte) (id subkeyID, rest []byte, err error) {
	short := fmt.Errorf("%w: encrypted entry ends too early", ErrCorrupt)
	if len(data) == 0 {
		return id, nil, short
	}
	n := int(data[0])
	if len(data) < 1+n+sealSalt+sealNonce+sealTag {
		return id, nil, short
	}
	id = subkeyID{key: string(data[1 : 1+n]), purpose: sealForEntries}
	copy(id.salt[:], data[1+n:])
	return id, data[1+n+sealSalt:], nil
}

// openEntry returns the data of a sealed entry, whose checksum is right.
func (s *sealer) openEntry(ctx context.Context, entry *raft.Log, sealed []byte) ([]byte, error) {
	id, rest, err := sealedBy(sealed)
	if err != nil {
		return nil, err
	}
	k, err := s.find(ctx, id)
	if err != nil {
		return nil, err
	}
	data, err := k.aead.Open(nil, rest[:sealNonce], rest[sealNonce:], s.bind(entry))
	if err != nil {
		return nil, &KeyError{id.key, errWrongKey}
	}
	return data, nil
}
