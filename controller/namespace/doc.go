// Package namespace empties Namespaces that are being deleted.
package namespace
