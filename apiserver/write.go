package apiserver

import (
	"context"
	"errors"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/admission"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/store"
)

const (
	maxObjectBytes = 3 << 20 // kube-apiserver's limit on a request body
	maxClaimTries  = 16
)

// Why a transaction did not happen.
var (
	errRaced   = errors.New("another writer was faster")
	errExists  = errors.New("the key exists")
	errClaimed = errors.New("a claim is taken")
)

// store writes an object: over old, or as a new one when old is nil. The object is given away. It answers the object
// as stored, which is old's when nothing differs.
func (c *call) store(ctx context.Context, old *entry, obj kind.Instance) (kind.Instance, error) {
	key := c.cache.key(obj.GetNamespace(), obj.GetName())
	obj.SetResourceVersion("")
	obj.SetSelfLink("")
	stored, raw, err := c.encode(ctx, old, obj)
	if err != nil {
		return nil, err
	}
	if raw == nil {
		return old.obj, nil
	}
	if c.req.DryRun {
		switch {
		case old != nil:
			obj.SetResourceVersion(client.FormatRevision(old.rev))
		case c.cache.get(key) != nil:
			return nil, errExists
		}
		return obj, nil
	}
	lease, err := c.server.leaseFor(ctx, c.cache.kind)
	if err != nil {
		return nil, err
	}
	txn := c.transaction(key, old, stored)
	txn.Then = append(txn.Then, store.Op{Put: &store.PutRequest{Key: []byte(key), Value: raw, Lease: lease}})
	w := &written{obj: stored, raw: raw, kind: c.cache.kind}
	c.server.feed.expect(key, w)
	revision, err := c.commit(ctx, key, old, txn)
	if err != nil {
		c.server.feed.forget(key, w)
		return nil, err
	}
	w.finish(revision)
	if obj != stored {
		obj.SetResourceVersion(client.FormatRevision(revision))
	}
	return obj, nil
}

// remove deletes an object. It answers the last state, at the revision of the deletion.
func (c *call) remove(ctx context.Context, old *entry) (kind.Instance, error) {
	if c.req.DryRun {
		return old.obj, nil
	}
	txn := c.transaction(old.key, old, nil)
	txn.Then = append(txn.Then, store.Op{Delete: &store.DeleteRequest{Key: []byte(old.key)}})
	revision, err := c.commit(ctx, old.key, old, txn)
	if err != nil {
		return nil, err
	}
	return atRevision(old.obj, revision), nil
}

// transaction begins a transaction that compares the object's version and moves its claims from old to obj, which is in the stored
// version.
func (c *call) transaction(key string, old *entry, obj kind.Instance) store.Txn {
	txn := store.Txn{Else: []store.Op{{Range: &store.RangeRequest{Key: []byte(key), KeysOnly: true}}}}
	unchanged := store.Compare{Key: []byte(key), Target: store.CompareMod, Op: store.Equal}
	if old != nil {
		unchanged.Number = old.rev
	}
	txn.Compares = append(txn.Compares, unchanged)
	if b := c.beside; b != nil {
		txn.Compares = append(txn.Compares, store.Compare{Key: []byte(b.key), Target: store.CompareMod, Op: store.Equal, Number: b.rev})
		txn.Then = append(txn.Then, store.Op{Put: &store.PutRequest{Key: []byte(b.key), Value: b.value}})
	}
	holds := c.cache.kind.Claims
	if holds == nil {
		return txn
	}
	var had, wants []string
	if old != nil {
		before := old
		if old.stored != nil {
			before = old.stored
		}
		had = holds(before.obj)
	}
	if obj != nil {
		wants = slices.Compact(slices.Sorted(slices.Values(holds(obj))))
	}
	for _, claim := range slices.Compact(slices.Sorted(slices.Values(had))) {
		if !slices.Contains(wants, claim) {
			txn.Then = append(txn.Then, store.Op{Delete: &store.DeleteRequest{Key: claimKey(claim)}})
		}
	}
	for _, claim := range wants {
		if slices.Contains(had, claim) {
			continue
		}
		txn.Compares = append(txn.Compares, store.Compare{Key: claimKey(claim), Target: store.CompareCreate, Op: store.Equal})
		txn.Then = append(txn.Then, store.Op{Put: &store.PutRequest{Key: claimKey(claim), Value: []byte(key)}})
	}
	return txn
}

// commit runs a transaction and waits until the caches show its outcome, whichever it is.
func (c *call) commit(ctx context.Context, key string, old *entry, txn store.Txn) (int64, error) {
	res, err := c.server.store.Txn(ctx, txn)
	if errors.Is(err, store.ErrLeaseNotFound) { // it ran out meanwhile, or was revoked
		c.server.forgetLease()
		return 0, errRaced
	}
	if err != nil {
		return 0, storeError(err)
	}
	waiting := c.server.feed.wait(ctx, res.Revision)
	if res.Succeeded {
		return res.Revision, nil // it is stored, so that ending the wait early is no failure
	}
	if waiting != nil {
		return 0, waiting
	}
	var stored int64
	if found := res.Responses[0].Range.KVs; len(found) > 0 {
		stored = found[0].ModRevision
	}
	switch {
	case old == nil && stored != 0:
		return 0, errExists
	case old != nil && stored != old.rev:
		return 0, errRaced
	case c.beside != nil:
		return 0, errRaced // the other object is another by now
	}
	return 0, errClaimed
}

// beside is an object that a transaction writes together with the one that it is about.
type beside struct {
	key   string
	rev   int64 // the version that value was made from
	value []byte
}

// guarded asks the call's guard what an attempt writes beside the object.
func (c *call) guarded(ctx context.Context, old *entry) (*beside, error) {
	if c.guard == nil {
		return nil, nil
	}
	return c.guard(ctx, old)
}

// again reports whether a write that failed with err should be made again from the start, and else what the client
// hears. tries counts claims that were lost.
func (c *call) again(ctx context.Context, err error, tries *int) (bool, error) {
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case errors.Is(err, errRaced):
		return true, nil
	case errors.Is(err, errClaimed):
		if *tries++; *tries < maxClaimTries {
			return true, nil
		}
		return false, conflict(c.kind, c.req.Name, "a name that only one object may hold (such as an address or a port) is held by another object")
	}
	return false, err
}

// admissionRequest is what plugins see of the call.
func (c *call) admissionRequest(verb client.Verb, obj, old kind.Instance) *admission.Request {
	r := &admission.Request{
		Verb: verb, Kind: c.kind, Subresource: c.req.Subresource, Namespace: c.req.Namespace, Name: c.req.Name,
		Object: obj, Old: old, User: c.user, DryRun: c.req.DryRun,
	}
	if obj != nil && r.Name == "" {
		r.Name = obj.GetName()
	}
	return r
}

// now is the time as objects carry it, in whole seconds.
func now() metav1.Time { return metav1.Now().Rfc3339Copy() }
