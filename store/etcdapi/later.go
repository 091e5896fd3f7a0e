package etcdapi

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/etcdapi/transport"
)

// write is a put or transaction for whose commit no goroutine waits: it is answered from where the batch that it is in
// is finished.
type write struct {
	server  *Server
	call    *transport.Call
	pending *store.Pending
}

// startPut is quickServer.put that does not wait.
func (q *quickServer) startPut(c *transport.Call, request []byte) bool {
	t := translation{limit: q.cfg.MaxRequestBytes}
	var (
		r   pb.PutRequest
		req store.PutRequest
		err error
	)
	if decodePut(request, &r) {
		err = t.readPut(&r, &req)
	} else {
		whole := new(pb.PutRequest)
		if err = decode(request, whole); err == nil {
			err = t.readPut(whole, &req)
		}
	}
	if err == nil {
		err = q.refusal(c)
	}
	if err != nil {
		c.Answer(nil, err)
		return true
	}
	w := &write{server: q.Server, call: c}
	return w.begun(q.store.StartPut(&req, w.put))
}

func (w *write) put(res store.PutResult, err error) {
	if err != nil {
		w.call.Answer(nil, w.server.fail(err))
		return
	}
	w.call.Answer(func(answer []byte) []byte { return appendPut(answer, w.server.at(res.Revision), &res) }, nil)
}

// startTxn is quickServer.txn that does not wait.
func (q *quickServer) startTxn(c *transport.Call, request []byte) bool {
	buffer, _ := q.txns.Get().(*txnBuffer)
	if buffer == nil {
		buffer = new(txnBuffer)
	}
	defer func() { // the store keeps nothing of what it was given
		*buffer = txnBuffer{}
		q.txns.Put(buffer)
	}()
	t := translation{limit: q.cfg.MaxRequestBytes}
	req, known := buffer.decode(request, t, q.cfg.MaxTxnOps)
	var err error
	if !known {
		r := new(pb.TxnRequest)
		if err = decode(request, r); err == nil {
			req, err = t.txn(r, q.cfg.MaxTxnOps, 0)
		}
	}
	if err == nil {
		err = q.refusal(c)
	}
	if err != nil {
		c.Answer(nil, err)
		return true
	}
	w := &write{server: q.Server, call: c}
	return w.begun(q.store.StartTxn(req, w.txn))
}

func (w *write) txn(res store.TxnResult, err error) {
	if err != nil {
		w.call.Answer(nil, w.server.fail(err))
		return
	}
	w.call.Answer(func(answer []byte) []byte { return appendTxn(answer, w.server.at(res.Revision), &res) }, nil)
}

// begun reports whether the write was: nil says that it was not.
func (w *write) begun(p *store.Pending) bool {
	if p == nil {
		return false
	}
	w.pending = p
	w.call.Until(w.server.cfg.RequestTimeout, w)
	return true
}

// GiveUp implements transport.Work.
func (w *write) GiveUp(late bool) error {
	w.pending.Abandon()
	switch {
	case !late:
		return w.server.fail(context.DeadlineExceeded)
	case w.server.store.HasLeader():
		return rpctypes.ErrGRPCTimeout
	default:
		return rpctypes.ErrGRPCTimeoutDueToLeaderFail
	}
}
