package wire

import (
	"net/http"

	"k8s.io/apimachinery/pkg/util/uuid"
)

// headerAuditID names a request in the logs of both sides.
const headerAuditID = "Audit-Id"

// identified gives the answer the headers that every answer has: the request's name, which is the client's own if it sent one, and that nobody
// on the way may keep it.
func identified(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get(headerAuditID)
	if id == "" {
		id = string(uuid.NewUUID())
	}
	header := w.Header()
	if header.Get(headerAuditID) == "" {
		header.Set(headerAuditID, id)
	}
	if header.Get("Cache-Control") == "" {
		header.Set("Cache-Control", "no-cache, private")
	}
}
