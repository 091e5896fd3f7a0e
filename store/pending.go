package store

import (
	"context"
	"sync/atomic"
	"time"
)

// Pending is a write that was started, and for which no goroutine waits.
type Pending struct {
	store  *Store
	op     string
	puts   bool // what it was told about the quota counts
	began  time.Time
	put    func(PutResult, error)
	txn    func(TxnResult, error)
	over   atomic.Bool // done was called, or never will be
	batch  *batch      // nil if what became of it was known at once
	number int         // its place in the batch
}

// StartPut is Put for who does not wait: it returns at once, and done is called once with what Put would return, or an
// error that Put could have. The call comes from the goroutine that applies commands, or from StartPut itself, without
// a lock held: done must return soon and wait for nothing, and may call Start methods. It fails to start, and returns nil,
// if it would have to wait before the put can be proposed; Put does that. Of req nothing is kept.
func (s *Store) StartPut(req *PutRequest, done func(PutResult, error)) *Pending {
	p := &Pending{store: s, op: "put", puts: true, put: done}
	if err := req.validate(); err != nil {
		p.tell(&result{}, &Error{Op: p.op, Err: err})
		return p
	}
	if !p.start(&command{kind: commandTxn, put: *req, bound: s.cfg.QuotaBytes}, 32+len(req.Key)+len(req.Value)) {
		return nil
	}
	return p
}

// StartTxn is StartPut for a transaction. One that only reads is not started either.
func (s *Store) StartTxn(txn *Txn, done func(TxnResult, error)) *Pending {
	p := &Pending{store: s, op: "txn", txn: done}
	if err := txn.validate(s.cfg.MaxTxnOps); err != nil {
		p.tell(&result{}, &Error{Op: p.op, Err: err})
		return p
	}
	if txn.readOnly() {
		return nil
	}
	p.puts = s.limited() && txn.puts()
	cmd := command{kind: commandTxn, txn: txn}
	if p.puts {
		cmd.bound = s.cfg.QuotaBytes
	}
	if !p.start(&cmd, txn.size()) {
		return nil
	}
	return p
}

// start does what Store.admit and Store.propose do, and reports false if they would wait.
func (p *Pending) start(cmd *command, size int) bool {
	s := p.store
	err := s.admit(context.Background(), p.op, size, false)
	if err == nil && p.puts {
		if err = s.spare(p.op); err == nil && s.crowded() {
			return false
		}
	}
	if err == nil {
		if unusable := s.usable(cmd.kind); unusable != nil {
			err = &Error{Op: p.op, Err: unusable}
		}
	}
	if err != nil {
		p.tell(&result{}, err)
		return true
	}
	p.began = s.metrics.began()
	cmd.pending = p
	if at := s.engine.submit(*cmd); at.batch == nil {
		p.settle(&at.result, at.err)
	}
	return true
}

// settle is called when it is known what has become of the command.
func (p *Pending) settle(r *result, err error) {
	if !p.over.CompareAndSwap(false, true) {
		return
	}
	s := p.store
	s.metrics.proposed(commandTxn, p.began, r, err)
	if err != nil {
		p.answer(nil, &Error{Op: p.op, Err: err})
		return
	}
	if p.puts {
		s.noteQuota(r.err)
	}
	if r.err != nil {
		p.answer(nil, r.failure(p.op))
		return
	}
	p.answer(r, nil)
}

// tell ends what was not proposed.
func (p *Pending) tell(r *result, err error) {
	if p.over.CompareAndSwap(false, true) {
		p.answer(r, err)
	}
}

func (p *Pending) answer(r *result, err error) {
	switch {
	case p.put != nil && err != nil:
		p.put(PutResult{}, err)
	case p.put != nil:
		p.put(r.put, nil)
	case err != nil:
		p.txn(TxnResult{}, err)
	default:
		p.txn(*r.transaction(), nil)
	}
}

// Abandon says that nobody wants to know any more: unless it has been, done is not called then. The write may still be
// applied.
func (p *Pending) Abandon() {
	if !p.over.CompareAndSwap(false, true) {
		return
	}
	p.store.metrics.proposed(commandTxn, p.began, nil, context.Canceled)
	if p.batch != nil {
		p.batch.abandoned.Add(1)
	}
}
