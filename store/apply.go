package store

import "context"

// applyTxn decides every branch on the state before, checks what can fail, and only then changes anything.
func (st *state) applyTxn(txn *Txn) result {
	may := st.allowed()
	path := st.branches(txn, nil, &may)
	rest := path
	if r := st.check(txn, &rest, &may); r.err != nil {
		return r
	}
	st.begin()
	rest = path
	res := st.run(txn, &rest, &may)
	if st.sub > 0 {
		setRevisions(res, st.revision+1)
	}
	st.commit()
	return result{txn: res, revision: st.revision}
}

// applyPut is applyTxn for a transaction that puts a key and does nothing else.
func (st *state) applyPut(put *PutRequest) result {
	if r := st.checkPut(put); r.err != nil {
		return r
	}
	st.begin()
	prev := st.runPut(put)
	st.commit()
	r := result{revision: st.revision, put: PutResult{Revision: st.revision}}
	if put.PrevKV && prev != nil {
		r.put.PrevKV = &prev.KV
	}
	return r
}

// readTxn serves a transaction that changes nothing, unless ctx ends meanwhile.
func (v *view) readTxn(ctx context.Context, op string, txn *Txn) (*TxnResult, error) {
	st := &state{view: *v}
	may := st.allowed()
	may.ctx = ctx
	path := st.branches(txn, nil, &may)
	rest := path
	r := st.check(txn, &rest, &may)
	if may.ended() {
		return nil, ctx.Err()
	}
	if r.err != nil {
		return nil, r.failure(op)
	}
	rest = path
	res := st.run(txn, &rest, &may)
	if may.ended() {
		return nil, ctx.Err()
	}
	return res, nil
}

// branches evaluates the compares of the transaction and of those nested in the branch it takes, in the order they
// will run. If they visit too much, what it returns does not count.
func (v *view) branches(txn *Txn, path []bool, may *visits) []bool {
	succeeded := true
	for i := range txn.Compares {
		if !v.compare(&txn.Compares[i], may) {
			succeeded = false
			break
		}
	}
	path = append(path, succeeded)
	for _, op := range txn.branch(succeeded) {
		if op.Txn != nil {
			path = v.branches(op.Txn, path, may)
		}
	}
	return path
}

func (t *Txn) branch(succeeded bool) []Op {
	if succeeded {
		return t.Then
	}
	return t.Else
}

func (v *view) compare(c *Compare, may *visits) bool {
	if len(c.End) == 0 {
		return c.holds(v.current(c.Key))
	}
	any, all, to, cost := false, true, limit(c.End), c.perVisit()
	v.items.ascend(text(c.Key), func(newest *version) bool {
		if to != "" && newest.name() >= to || !may.take(cost) {
			return false
		}
		if at := newest.at(v.revision); at != nil {
			any = true
			all = c.holds(&at.KV)
		}
		return all
	})
	if !any {
		return c.holds(nil)
	}
	return all
}

// current returns the version of a key that holds at the view's revision, nil if it does not exist.
func (v *view) current(key []byte) *KV {
	if at := v.items.get(text(key)).at(v.revision); at != nil {
		return &at.KV
	}
	return nil
}

func next(path *[]bool) bool {
	succeeded := (*path)[0]
	*path = (*path)[1:]
	return succeeded
}

// check finds what would make the transaction fail on this state.
func (st *state) check(txn *Txn, path *[]bool, may *visits) result {
	ops := txn.branch(next(path))
	for i := range ops {
		switch op := &ops[i]; {
		case op.Put != nil:
			if r := st.checkPut(op.Put); r.err != nil {
				return r
			}
		case op.Range != nil:
			if err := st.readable(op.Range.Revision); err != nil {
				return result{err: err.Err, revision: err.Revision, key: string(op.Range.Key)}
			}
			may.countRange(&st.view, op.Range)
		case op.Delete != nil:
			may.countDelete(&st.view, op.Delete)
		case op.Txn != nil:
			if r := st.check(op.Txn, path, may); r.err != nil {
				return r
			}
		}
		if may.left < 0 {
			return result{err: errVisits}
		}
	}
	if may.left < 0 { // the compares alone
		return result{err: errVisits}
	}
	return result{}
}

func (st *state) checkPut(put *PutRequest) result {
	if put.Lease != 0 {
		if _, found := st.leases.Get(leaseRecord{id: put.Lease}); !found {
			return result{err: ErrLeaseNotFound, key: string(put.Key)}
		}
	}
	if (put.IgnoreValue || put.IgnoreLease) && st.current(put.Key) == nil {
		return result{err: ErrKeyNotFound, key: string(put.Key)}
	}
	return result{}
}

// run carries the transaction out. One that only reads ends early when nobody waits for it any more.
func (st *state) run(txn *Txn, path *[]bool, may *visits) *TxnResult {
	succeeded := next(path)
	ops := txn.branch(succeeded)
	res := &TxnResult{Succeeded: succeeded, Revision: st.revision, Responses: make([]OpResult, len(ops))}
	for i := range ops {
		if may.ended() {
			break
		}
		out := &res.Responses[i]
		switch op := &ops[i]; {
		case op.Range != nil:
			out.Range = st.rangeWithin(op.Range)
		case op.Put != nil:
			prev := st.runPut(op.Put)
			out.Put = &PutResult{Revision: st.revision}
			if op.Put.PrevKV && prev != nil {
				out.Put.PrevKV = &prev.KV
			}
		case op.Delete != nil:
			out.Delete = st.runDelete(op.Delete)
		case op.Txn != nil:
			out.Txn = st.run(op.Txn, path, may)
		}
	}
	return res
}

// rangeWithin reads inside a transaction: at the newest revision that includes what the transaction has changed so far.
func (st *state) rangeWithin(req *RangeRequest) *RangeResult {
	v := st.view
	if st.sub > 0 {
		v.revision++
	}
	res := v.rangeAt(req)
	return &res
}

// runPut returns the version before.
func (st *state) runPut(put *PutRequest) *version {
	value, lease := put.Value, put.Lease
	if put.IgnoreValue || put.IgnoreLease {
		if current := st.items.get(text(put.Key)); current != nil && !current.tombstone() { // also from this transaction
			if put.IgnoreValue {
				value = current.Value
			}
			if put.IgnoreLease {
				lease = current.Lease
			}
		}
	}
	return st.put(put.Key, value, lease)
}

func (st *state) runDelete(del *DeleteRequest) *DeleteResult {
	res := &DeleteResult{Revision: st.revision}
	var keys []string
	st.ascend(del.Key, del.End, st.revision+1, func(v *version) bool {
		keys = append(keys, string(v.Key))
		return true
	})
	for _, key := range keys {
		prev := st.remove(key)
		res.Deleted++
		if del.PrevKV {
			res.PrevKVs = append(res.PrevKVs, prev.KV)
		}
	}
	return res
}

// setRevisions writes the revision that a transaction made into its results.
func setRevisions(res *TxnResult, revision int64) {
	res.Revision = revision
	for i := range res.Responses {
		switch r := &res.Responses[i]; {
		case r.Put != nil:
			r.Put.Revision = revision
		case r.Delete != nil:
			r.Delete.Revision = revision
		case r.Range != nil:
			r.Range.Revision = revision
		case r.Txn != nil:
			setRevisions(r.Txn, revision)
		}
	}
}
