package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
)

// KeySize is the length of a Key's secret in bytes: AES-256 takes it.
const KeySize = 32

// maxKeyID bounds a key's name, which stands beside everything that the key encrypts.
const maxKeyID = 64

// Key is a secret that what is written to disk is encrypted with, and the name it goes by.
type Key struct {
	// ID names the key, with 1 to 64 bytes. It is stored in the clear. A name must never come to mean another secret.
	ID string
	// Secret has KeySize random bytes.
	Secret []byte
}

// String returns the name alone, so that no log shows the secret.
func (k Key) String() string { return "key " + k.ID }

// GoString is String.
func (k Key) GoString() string { return k.String() }

func (k Key) validate() error {
	switch {
	case k.ID == "" || len(k.ID) > maxKeyID:
		return fmt.Errorf("%w: a key's name has %d bytes, and must have 1 to %d", ErrKey, len(k.ID), maxKeyID)
	case len(k.Secret) != KeySize:
		return fmt.Errorf("%w: %v has a secret of %d bytes, and needs %d", ErrKey, k, len(k.Secret), KeySize)
	}
	return nil
}

// Keyring has the keys of Config.Keys. It is asked when a store is opened, when it meets a key that it has not seen
// since, before each snapshot, and by Store.Reencrypt; so it may take its time. Its methods may be called at once.
// [StaticKeys] and [KeyFile] are keyrings.
type Keyring interface {
	// Current returns the key to encrypt with from now on.
	Current(ctx context.Context) (Key, error)
	// Key returns the key of this name. An error that wraps ErrKey says that there is none.
	Key(ctx context.Context, id string) (Key, error)
}

// KeyError says which key is missing or does not fit. ID is empty if it is the current one and its name is not known. It
// wraps ErrKey.
type KeyError struct {
	ID  string
	Err error
}

func (e *KeyError) Error() string {
	if e.ID == "" { // there is no telling which: the keyring has failed, or has none
		return fmt.Sprintf("the current key: %v", e.Err)
	}
	return fmt.Sprintf("key %q: %v", e.ID, e.Err)
}

func (e *KeyError) Unwrap() []error { return []error{ErrKey, e.Err} }

var (
	errNoKeyring = errors.New("needed, and Config.Keys is not set")
	errNoSuchKey = errors.New("not in the keyring")
	errWrongKey  = errors.New("does not open what was encrypted under its name, though that is undamaged: " +
		"it is another secret, or the data were changed or moved on purpose")
)

// StaticKeys is a Keyring of keys that the program has. The first one is current.
type StaticKeys []Key

// Current implements Keyring.
func (k StaticKeys) Current(context.Context) (Key, error) {
	if len(k) == 0 {
		return Key{}, fmt.Errorf("%w: the keyring is empty", ErrKey)
	}
	return k[0], nil
}

// Key implements Keyring.
func (k StaticKeys) Key(_ context.Context, id string) (Key, error) {
	for _, key := range k {
		if key.ID == id {
			return key, nil
		}
	}
	return Key{}, &KeyError{id, errNoSuchKey}
}

// KeyFile is a Keyring in a text file, of this path. Each line has a key's name, blanks, and its secret in base64;
// empty lines, and those that begin with #, say nothing. The first key is current. The file is read whenever a key is
// asked for: to rotate, put a new line above the others and call Store.Reencrypt, or restart.
//
//	echo "2026-11 $(head -c 32 /dev/urandom | base64)" > keys; chmod 600 keys
type KeyFile string

// Current implements Keyring.
func (f KeyFile) Current(ctx context.Context) (Key, error) {
	keys, err := f.read()
	if err != nil {
		return Key{}, err
	}
	return keys.Current(ctx)
}

// Key implements Keyring.
func (f KeyFile) Key(ctx context.Context, id string) (Key, error) {
	keys, err := f.read()
	if err != nil {
		return Key{}, err
	}
	return keys.Key(ctx, id)
}

func (f KeyFile) read() (keys StaticKeys, err error) {
	text, err := os.ReadFile(string(f))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 2 { // the message must not show the line: it may be a secret
			return nil, fmt.Errorf("%w: line %d of %s has %d fields, and should have a name and a secret", ErrKey, n, f, len(fields))
		}
		secret, err := base64.StdEncoding.DecodeString(fields[1])
		if err != nil {
			return nil, fmt.Errorf("%w: line %d of %s: the secret of %q is not base64", ErrKey, n, f, fields[0])
		}
		key := Key{fields[0], secret}
		if err := key.validate(); err != nil {
			return nil, fmt.Errorf("line %d of %s: %w", n, f, err)
		}
		for _, other := range keys {
			if other.ID == key.ID {
				return nil, fmt.Errorf("%w: line %d of %s: there is another key %q", ErrKey, n, f, key.ID)
			}
		}
		keys = append(keys, key)
	}
	return keys, lines.Err()
}
