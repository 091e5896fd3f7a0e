package apiserver

import (
	"fmt"
	"hash/maphash"

	"go.uber.org/zap"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// sum is a hash of what an object looks like, 0 unless mutations are detected.
func (c *cache) sum(obj kind.Instance) uint64 {
	if !c.server.cfg.DetectMutation {
		return 0
	}
	data, err := c.kind.EncodeJSON(obj)
	if err != nil {
		return 0
	}
	return maphash.Bytes(c.server.seed, data)
}

// verify reports an entry whose object does not look as it did when it was published.
func (c *cache) verify(e *entry) {
	if e == nil || e.sum == 0 || e.sum == c.sum(e.obj) {
		return
	}
	what := fmt.Sprintf("%s %s at revision %d was changed by a reader: objects from a client are shared, change a copy", c.kind, e.key, e.rev)
	if report := c.server.cfg.MutationDetected; report != nil {
		report(what)
		return
	}
	c.server.log.DPanic("a shared object was changed", zap.String("what", what))
}

// verifyAll looks at every object in the caches.
func (s *Server) verifyAll() {
	if !s.cfg.DetectMutation {
		return
	}
	for _, c := range s.served.Load().caches {
		c.view().ascend(c.prefix, "", func(e *entry) bool {
			c.verify(e)
			return true
		})
	}
}
