// Package table makes the tables that kubectl get prints from a kind's columns (kind.Strategy.Columns). A kind without
// columns has NAME and AGE.
//
//	t, err := table.Of(kind, objects, table.Metadata, time.Now())
//
// Functions are pure. The rows refer to the objects they were made from, which stay read-only.
package table
