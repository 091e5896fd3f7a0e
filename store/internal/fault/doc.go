// Package fault has the kinds of errors that package store shares with the log stores it comes with: they can't import
// it. Users know them by store's names, which are the same values.
package fault
