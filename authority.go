package keelson

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/keelson-dev/keelson/apiserver/authn/pki"
	"github.com/keelson-dev/keelson/store"
)

// Where the control planes over one store keep the authority that they share, beside the objects of the API and out of
// its reach.
var (
	authorityCert = []byte("/keelson/authority/ca.crt")
	authorityKey  = []byte("/keelson/authority/ca.key")
)

// shareAuthority has all control planes over one store use one authority, so that a certificate that one has issued is
// good at all: that of the first to come here, which is kept in the store. Another one that dir has gives way, and the
// administrator's certificate with it. It waits for a majority of the members.
func (c *Cluster) shareAuthority(ctx context.Context, dir *os.Root, own *pki.CA) (*pki.CA, error) {
	key, err := own.KeyPEM()
	if err != nil {
		return nil, err
	}
	get := []store.Op{{Range: &store.RangeRequest{Key: authorityCert}}, {Range: &store.RangeRequest{Key: authorityKey}}}
	res, err := c.plane.store.Txn(ctx, store.Txn{
		Compares: []store.Compare{{Key: authorityCert, Target: store.CompareVersion}}, // that it is 0: it does not exist
		Then:     []store.Op{{Put: &store.PutRequest{Key: authorityCert, Value: own.CertPEM()}}, {Put: &store.PutRequest{Key: authorityKey, Value: key}}},
		Else:     get,
	})
	if err != nil || res.Succeeded {
		return own, err
	}
	var pem [2][]byte
	for i, r := range res.Responses {
		if r.Range == nil || len(r.Range.KVs) != 1 {
			return nil, errors.New("the store has half of an authority")
		}
		pem[i] = r.Range.KVs[0].Value
	}
	ca, err := pki.ParseCA(pem[0], pem[1])
	if err != nil || dir == nil || bytes.Equal(ca.CertPEM(), own.CertPEM()) {
		return ca, err
	}
	for _, file := range []string{"admin.crt", "admin.key"} {
		if err := dir.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return ca, ca.Save(dir)
}
