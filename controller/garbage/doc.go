// Package garbage deletes objects whose owners are gone.
package garbage
